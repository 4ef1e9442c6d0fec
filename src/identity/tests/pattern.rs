//! What the patterns match.

use proptest::prelude::*;

use crate::identity::{Attribute, Pattern, PatternError};

fn matches(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).unwrap().matches(text)
}

#[test]
fn patterns_match_whole_texts_and_stars_stay_in_their_segment() {
    for (pattern, text, expected) in [
        ("cart", "cart", true),
        ("cart", "Cart", false),
        ("cart", "carts", false),
        ("cart", "a cart", false),
        ("cart", "", false),
        ("*", "", true),
        ("*", "anything at all", true),
        ("*", "a.b", false),
        ("*", "a/b", false),
        ("**", "a.b/c", true),
        ("**", "", true),
        ("***", "a.b/c", true),
        ("cart-*", "cart-1", true),
        ("cart-*", "cart-", true),
        ("cart-*", "cart-1.2", false),
        ("*-cart", "my-cart", true),
        ("*a*b*", "xaybz", true),
        ("*a*b*", "xbya", false),
        ("*a*a", "aa", true),
        ("*a*a", "a", false),
        ("*.example.com", "www.example.com", true),
        ("*.example.com", "a.b.example.com", false),
        ("*.example.com", "example.com", false),
        ("**.example.com", "a.b.example.com", true),
        ("**.example.com", "a.b.example.com.evil.org", false),
        ("spiffe://prod/shop/*", "spiffe://prod/shop/cart", true),
        ("spiffe://prod/shop/*", "spiffe://prod/shop/cart/x", false),
        ("spiffe://prod/shop/*", "spiffe://prod/shop/../evil", false),
        ("spiffe://prod/shop/**", "spiffe://prod/shop/cart/x", true),
        ("spiffe://prod/*/cart", "spiffe://prod/shop/cart", true),
        ("spiffe://prod/*/cart", "spiffe://prod/shop/eu/cart", false),
        ("spiffe://prod/**/cart", "spiffe://prod/shop/eu/cart", true),
        ("**/*.b", "x/y/a.b", true),
        ("**/*.b", "x/y/a.c.b", false),
        // No other character means anything but itself.
        ("a?c", "abc", false),
        ("a?c", "a?c", true),
        ("[ab]", "a", false),
        ("a\\*", "a\\b", true),
        ("a\\*", "a*", false),
        ("mü*r", "mütter", true),
        ("*", "ü", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
    }
}

#[test]
fn a_hostile_text_costs_no_more_than_its_length() {
    let pattern = Pattern::new(&"*a".repeat(30)).unwrap();
    assert!(!pattern.matches(&format!("{}.", "a".repeat(20_000))));
}

#[test]
fn dns_and_digests_are_lower_cased_and_others_are_not() {
    let of = |attribute, text: &str| Pattern::for_attribute(attribute, text).unwrap();
    assert!(of(Attribute::Dns, "*.Example.COM").matches("a.example.com"));
    assert!(!of(Attribute::Cn, "Cart").matches("cart"));
    let digest = "AB".repeat(32);
    assert!(of(Attribute::SpkiSha256, &digest).matches(&digest.to_lowercase()));
    assert_eq!(of(Attribute::Dns, "*.E").to_string(), "*.e");
}

#[test]
fn digests_are_whole() {
    for text in [
        "ab",
        "*",
        &"ab".repeat(33),
        &"gg".repeat(32),
        &format!("{}*", "a".repeat(63)),
    ] {
        for attribute in [Attribute::SpkiSha256, Attribute::IssuerSpkiSha256] {
            assert_eq!(
                Pattern::for_attribute(attribute, text),
                Err(PatternError::Digest)
            );
        }
    }
}

#[test]
fn an_empty_pattern_is_refused() {
    for attribute in Attribute::ALL {
        assert_eq!(
            Pattern::for_attribute(attribute, ""),
            Err(PatternError::Empty)
        );
    }
}

/// What the documentation says, word for word, and as slow as that is.
fn specified(pattern: &[u8], text: &[u8]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    if first != b'*' {
        return text.first() == Some(&first) && specified(rest, &text[1..]);
    }
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let rest = &pattern[stars..];
    (0..=text.len())
        .take_while(|&end| stars > 1 || !text[..end].iter().any(|byte| b"/.".contains(byte)))
        .any(|end| specified(rest, &text[end..]))
}

proptest! {
    #[test]
    fn matching_agrees_with_its_specification(
        pattern in "[ab./*]{1,8}",
        text in "[ab./]{0,10}",
    ) {
        prop_assert_eq!(
            matches(&pattern, &text),
            specified(pattern.as_bytes(), text.as_bytes())
        );
    }
}
