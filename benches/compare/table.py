"""Tables of text, and numbers as they stand in them."""


class Table:
    """A title, names of columns, rows; the first column is what a row is about."""

    def __init__(self, title, *names):
        self.title, self.names, self.rows = title, names, []

    def row(self, label, *cells):
        self.rows.append((label, *cells))

    def __str__(self):
        lines = [("", *self.names), *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.names) + 1)]
        out = [self.title]
        for line in lines:
            cells = [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:])]
            out.append(f"  {line[0]:<{widths[0]}}  {'  '.join(cells)}".rstrip())
        return "\n".join(out) + "\n"


def count(number):
    """Three digits say all that is measured."""
    if number >= 999_500:
        return f"{number / 1e6:.2f}M"
    return f"{number / 1e3:.1f}k" if number < 99_950 and number >= 1000 else f"{number / 1e3:.0f}k" if number >= 1000 else f"{number:.0f}"


def times(number, base):
    return f"{number / base:.2f} ×" if base else ""


def micros(number):
    return f"{number:,.0f}"


def megabytes(number):
    return f"{number / 1e6:.0f}"
