//! Redis' glob patterns (`util.c`, `stringmatchlen`), byte for byte, in bounded time.

/// A compiled pattern: the common shapes never reach the matcher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    source: Box<[u8]>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    /// No special byte.
    Exact,
    /// No special byte but one `*` at the end.
    Prefix,
    Glob,
}

/// Patterns with more stars match nothing, as in Redis since CVE-2024-31228 (7.2.6, 6.2.16), which
/// counts the nesting that they cause.
const MAX_STARS: usize = 1000;

// === impl Pattern ===

impl Pattern {
    /// Compiles a pattern. Every byte string is one.
    pub fn new(source: &[u8]) -> Self {
        let shape = match source.iter().position(is_special) {
            None => Shape::Exact,
            Some(at) if source[at] == b'*' && at + 1 == source.len() => Shape::Prefix,
            Some(_) => Shape::Glob,
        };
        Self {
            source: source.into(),
            shape,
        }
    }

    /// The pattern as written.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// What every name begins with that it matches.
    pub(super) fn head(&self) -> &[u8] {
        let end = self.source.iter().position(is_special);
        &self.source[..end.unwrap_or(self.source.len())]
    }

    /// Whether it matches the whole of `name`.
    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        match self.shape {
            Shape::Exact => *self.source == *name,
            // Redis' loop ends before it looks at a pattern when there is nothing to match: `*`
            // does not match the empty name.
            Shape::Prefix => {
                name.starts_with(&self.source[..self.source.len() - 1])
                    && (self.source.len() > 1 || !name.is_empty())
            }
            Shape::Glob => matches_glob(&self.source, name),
        }
    }
}

fn is_special(byte: &u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

/// Backtracks to the last star only: an earlier one can't help, since every other element takes
/// exactly one byte. That bounds the work by pattern × name (CVE-2022-36021 was the lack of it).
fn matches_glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut stars = 0;
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if n == name.len() {
            // Trailing stars take the empty rest, unless nothing was ever there to match.
            let rest = &pattern[p..];
            return rest.is_empty() || (!name.is_empty() && rest.iter().all(|&byte| byte == b'*'));
        }
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            stars += 1;
            if stars > MAX_STARS {
                return false;
            }
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, n));
            continue;
        }
        let step = (p < pattern.len()).then(|| match_one(&pattern[p..], name[n]));
        match (step, retry) {
            (Some((true, used)), _) => {
                p += used;
                n += 1;
            }
            (_, Some((after_star, from))) => {
                retry = Some((after_star, from + 1));
                p = after_star;
                n = from + 1;
            }
            (_, None) => return false,
        }
    }
}

/// Whether the element that `pattern` starts with, not a star, takes `byte`; and its length.
fn match_one(pattern: &[u8], byte: u8) -> (bool, usize) {
    match pattern {
        [b'?', ..] => (true, 1),
        [b'[', ..] => match_class(pattern, byte),
        [b'\\', escaped, ..] => (*escaped == byte, 2),
        // A backslash at the end stands for itself.
        [literal, ..] => (*literal == byte, 1),
        [] => (false, 0),
    }
}

/// A class: `[^]` takes any byte, `[]` none, an unclosed one ends with the pattern, a reversed
/// range is turned round, and `[a-]` is the range from `a` to `]`, unclosed. Ranges are between C's
/// chars, which are signed where Redis mostly runs: 0x80 to 0xff lie before NUL.
fn match_class(pattern: &[u8], byte: u8) -> (bool, usize) {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    if negated {
        at += 1;
    }
    let mut found = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [] => break,
            [from, b'-', to, ..] => {
                let [from, to, byte] = [*from, *to, byte].map(u8::cast_signed);
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_redis_does() {
        let cases: &[(&str, &str, bool)] = &[
            ("*", "a", true),
            ("*", "", false),
            ("**", "", false),
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("a*", "ab", true),
            ("a*", "ba", false),
            ("a**", "a", true),
            ("*a", "ba", true),
            ("*a*", "ba", true),
            ("*a*?", "ba", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[^]", "x", true),
            ("[]", "x", false),
            ("[ab", "b", true),
            ("[ab", "c", false),
            ("a\\", "a\\", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("[c-a]", "b", true),
            ("[a-]", "]", true),
            ("[a-]", "_", true),
            ("[a-]", "-", false),
            ("[\\]]", "]", true),
            ("[^a]", "a", false),
            ("h[^e]llo", "hallo", true),
            ("*[0-9][0-9]*x", "ab12cdx", true),
            ("*abc*abd", "abcabcabd", true),
        ];
        for (pattern, name, expected) in cases {
            let found = Pattern::new(pattern.as_bytes()).matches(name.as_bytes());
            assert_eq!(found, *expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn ranges_are_between_signed_bytes() {
        let matches = |pattern: &[u8], byte: u8| Pattern::new(pattern).matches(&[byte]);
        assert!(matches(b"[\xff-*]", b'*'));
        assert!(!matches(b"[\xff-*]", b'a'));
        assert!(!matches(b"[\xff-*]", 0x80));
        assert!(matches(b"[\x80-\xff]", 0x90));
        assert!(!matches(b"[a-z]", 0x90));
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = Pattern::new(&b"a*".repeat(900));
        assert!(!pattern.matches(&[b'a'; 899]));
        assert!(
            !Pattern::new(&[b"a*".repeat(1001), b"b".to_vec()].concat()).matches(&[b'a'; 2000])
        );
        assert!(
            !Pattern::new(&[b"*a".repeat(500), b"b".to_vec()].concat()).matches(&[b'a'; 20_000])
        );
    }
}
