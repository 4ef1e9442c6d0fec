"""The main table as a picture: SVG, written by hand, for light and dark pages."""

from html import escape

from loads import COLUMNS
from peers import PEERS
from table import count

WIDTH, MARGIN, GAP = 960, 16, 24
PANELS = 3  # beside each other
TITLE, ROW, BAR = 26, 17, 11
LABEL, VALUE = 112, 74

# Ours stand out; what all is compared to, and what isn't TLS at all, stand back.
CLASSES = {"redis-tls": "base", "redis-plain": "plain", "respgate": "own", "respgate-dedicated": "own"}

STYLE = """
text { font: 11px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 12.5px; font-weight: 600 } .note, .value { fill: #59636e } .value { font-size: 10px } .end { text-anchor: end }
.peer { fill: #8c959f } .own { fill: #0969da } .base { fill: #57606a } .plain { fill: #d1d9e0 }
.line { stroke: #57606a; stroke-dasharray: 2 2; opacity: .7 } text.own { font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note, .value { fill: #9198a1 } .peer { fill: #656c76 } .own { fill: #4493f8 }
.base { fill: #b1bac4 } .plain { fill: #3d444d } .line { stroke: #b1bac4 } }
"""


def draw(results, note):
    """The SVG of the main part's results."""
    columns = [column for column in COLUMNS if results.get(column.key, {}).get("redis-tls")]
    peers = [peer for peer in PEERS if any(peer.key in results[column.key] for column in columns)]
    panel = (WIDTH - 2 * MARGIN - (PANELS - 1) * GAP) / PANELS
    height = TITLE + len(peers) * ROW
    lines = -(-len(columns) // PANELS)
    bottom = MARGIN + 36 + lines * (height + GAP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 8:.0f}" role="img" '
        f'aria-label="Operations a second through respgate and its peers, as a ratio to Redis\' own TLS">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{MARGIN}" y="{MARGIN + 8}">Operations a second with mutual TLS 1.3, as a ratio to Redis\' own TLS</text>',
        f'<text class="note" x="{MARGIN}" y="{MARGIN + 25}">{escape(note)}</text>',
    ]
    for index, column in enumerate(columns):
        x = MARGIN + index % PANELS * (panel + GAP)
        y = MARGIN + 40 + index // PANELS * (height + GAP)
        out += draw_panel(column, results[column.key], peers, x, y, panel)
    return "\n".join([*out, "</svg>", ""])


def draw_panel(column, rows, peers, x, y, width):
    base = rows["redis-tls"]["rate"]
    # Plain Redis does far more than everybody; its bar is cut where the longest other one ends.
    longest = max([1.0] + [rows[peer.key]["rate"] / base for peer in peers if peer.key in rows and peer.key != "redis-plain"])
    room = width - LABEL - VALUE
    scale = room / longest
    out = [f'<text class="title" x="{x:.0f}" y="{y + 14:.0f}">{escape(column.title)}</text>']
    for number, peer in enumerate(peers):
        top = y + TITLE + number * ROW
        kind = CLASSES.get(peer.key, "peer")
        middle = top + BAR - 2
        style = ' class="own"' if kind == "own" else ""
        out.append(f'<text{style} x="{x:.0f}" y="{middle:.0f}">{escape(short(peer.label))}</text>')
        row = rows.get(peer.key)
        if not row:
            out.append(f'<text class="value" x="{x + LABEL:.0f}" y="{middle:.0f}">not measured</text>')
            continue
        ratio = row["rate"] / base
        length = max(1.0, min(ratio, longest) * scale)
        cut = "▸ " if ratio > longest else ""
        out.append(f'<rect class="{kind}" x="{x + LABEL:.0f}" y="{top:.0f}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        value = f"{cut}{ratio:.2f} · {count(row['rate'])}"
        out.append(f'<text class="value end" x="{x + width:.0f}" y="{middle:.0f}">{value}</text>')
    one = x + LABEL + scale
    bottom = y + TITLE + len(peers) * ROW - 3
    out.append(f'<line class="line" x1="{one:.1f}" x2="{one:.1f}" y1="{y + TITLE - 3:.0f}" y2="{bottom:.0f}"/>')
    return out


def short(label):
    return label.replace("plain Redis, no TLS", "Redis, no TLS")
