//! Which rule decides, and whom it names.

use std::net::IpAddr;

use crate::identity::{
    Attribute, AuthKind, Certificate, Identity, Naming, NamingError, Pattern, Rule, RuleError,
    Subject, Unmatched, Who, is_user_name, resolve,
};

/// A rule over attributes alone, proved by the certificate.
fn rule(conditions: &[(Attribute, &[&str])], user: &str) -> Rule {
    build(conditions, None, None, user, AuthKind::Certificate)
}

fn build(
    conditions: &[(Attribute, &[&str])],
    from: Option<&[&str]>,
    listeners: Option<&[&str]>,
    user: &str,
    auth: AuthKind,
) -> Rule {
    let attributes = conditions
        .iter()
        .map(|(attribute, patterns)| {
            let compile = |text: &&str| Pattern::for_attribute(*attribute, text).unwrap();
            (*attribute, patterns.iter().map(compile).collect())
        })
        .collect();
    let from = from.map(|list| list.iter().map(|text| text.parse().unwrap()).collect());
    let listeners = listeners.map(|list| {
        list.iter()
            .map(|text| Pattern::new(text).unwrap())
            .collect()
    });
    Rule::new(
        attributes,
        from,
        listeners,
        Naming::from_user(user).unwrap(),
        auth,
    )
    .unwrap()
}

fn certificate() -> Certificate {
    Certificate {
        cn: vec!["cart".into()],
        ou: vec!["shop".into(), "eu".into()],
        o: vec!["Example".into()],
        dns: vec!["cart.example.com".into(), "cart.example.org".into()],
        uri: vec!["spiffe://prod/shop/cart".into()],
        email: vec![],
        spki_sha256: "ab".repeat(32),
        issuer_cn: vec!["Example CA".into()],
        issuer_spki_sha256: "cd".repeat(32),
        ..Certificate::default()
    }
}

fn subject(certificate: &Certificate) -> Subject<'_> {
    Subject {
        certificate: Some(certificate),
        source: Some(IpAddr::from([10, 0, 0, 1])),
        listener: "main",
    }
}

/// A peer without a certificate.
fn bare(source: Option<&str>, listener: &'static str) -> Subject<'static> {
    Subject {
        certificate: None,
        source: source.map(|text| text.parse().unwrap()),
        listener,
    }
}

fn fixed(rule: usize, name: &str) -> Result<Identity, Unmatched> {
    Ok(Identity {
        rule,
        who: Who::Fixed(name.into()),
        auth: AuthKind::Certificate,
    })
}

#[test]
fn the_first_rule_that_matches_decides() {
    let certificate = certificate();
    let rules = [
        rule(&[(Attribute::Cn, &["other"])], "a"),
        rule(&[(Attribute::Cn, &["c*"])], "b"),
        rule(&[(Attribute::Cn, &["cart"])], "c"),
    ];
    assert_eq!(resolve(&rules, &subject(&certificate)), fixed(1, "b"));
    assert_eq!(
        resolve(&rules[..1], &subject(&certificate)),
        Err(Unmatched::NoRule)
    );
    assert_eq!(resolve(&[], &subject(&certificate)), Err(Unmatched::NoRule));
}

#[test]
fn all_conditions_must_hold_and_of_each_any() {
    let certificate = certificate();
    for (conditions, expected) in [
        (&[(Attribute::Ou, &["eu"][..])][..], true),
        (&[(Attribute::Ou, &["us", "shop"])], true),
        (&[(Attribute::Ou, &["us"])], false),
        (
            &[(Attribute::Cn, &["cart"]), (Attribute::O, &["Example"])],
            true,
        ),
        (
            &[(Attribute::Cn, &["cart"]), (Attribute::O, &["example"])],
            false,
        ),
        (&[(Attribute::Dns, &["*.EXAMPLE.org"])], true),
        (&[(Attribute::Uri, &["spiffe://prod/shop/*"])], true),
        (&[(Attribute::Uri, &["spiffe://prod/*"])], false),
        (&[(Attribute::Email, &["**"])], false),
        (&[(Attribute::IssuerCn, &["Example CA"])], true),
    ] {
        let rules = [rule(conditions, "u")];
        let matched = resolve(&rules, &subject(&certificate)).is_ok();
        assert_eq!(matched, expected, "{conditions:?}");
    }
    let (ab, cd) = ("AB".repeat(32), "cd".repeat(32));
    for (attribute, digest, expected) in [
        (Attribute::SpkiSha256, &ab, true),
        (Attribute::SpkiSha256, &cd, false),
        (Attribute::IssuerSpkiSha256, &cd, true),
    ] {
        let rules = [rule(&[(attribute, &[digest])], "u")];
        assert_eq!(resolve(&rules, &subject(&certificate)).is_ok(), expected);
    }
}

#[test]
fn sources_are_compared_as_the_addresses_they_are() {
    let rules = [build(
        &[],
        Some(&["10.0.0.0/8", "fd00::/8"]),
        None,
        "u",
        AuthKind::Address,
    )];
    for (source, expected) in [
        (Some("10.1.2.3"), true),
        (Some("::ffff:10.1.2.3"), true),
        (Some("fd00::1"), true),
        (Some("11.0.0.1"), false),
        (Some("::1"), false),
        (None, false),
    ] {
        assert_eq!(
            resolve(&rules, &bare(source, "main")).is_ok(),
            expected,
            "{source:?}"
        );
    }
    // Not even everywhere is where a unix socket is.
    let rules = [build(
        &[],
        Some(&["0.0.0.0/0", "::/0"]),
        None,
        "u",
        AuthKind::Address,
    )];
    assert_eq!(resolve(&rules, &bare(None, "main")), Err(Unmatched::NoRule));
}

#[test]
fn listeners_are_matched_by_name() {
    let rules = [build(
        &[],
        None,
        Some(&["in-*", "main"]),
        "u",
        AuthKind::Password,
    )];
    for (listener, expected) in [("main", true), ("in-a", true), ("out", false)] {
        assert_eq!(
            resolve(&rules, &bare(None, listener)).is_ok(),
            expected,
            "{listener}"
        );
    }
}

#[test]
fn a_peer_without_a_certificate_goes_on_to_rules_that_need_none() {
    let rules = [
        rule(&[(Attribute::Cn, &["**"])], "u"),
        rule(&[], "$cn"),
        build(&[], None, None, "$auth", AuthKind::Password),
    ];
    let identity = resolve(&rules, &bare(Some("10.0.0.1"), "main")).unwrap();
    assert_eq!(
        identity,
        Identity {
            rule: 2,
            who: Who::Chosen,
            auth: AuthKind::Password
        }
    );
}

#[test]
fn the_only_value_of_an_attribute_is_the_name() {
    let certificate = certificate();
    let resolved = |user| resolve(&[rule(&[], user)], &subject(&certificate));
    assert_eq!(resolved("$cn"), fixed(0, "cart"));
    assert_eq!(resolved("$uri"), fixed(0, "spiffe://prod/shop/cart"));
    assert_eq!(
        resolved("$dns"),
        Err(Unmatched::SeveralValues {
            rule: 0,
            attribute: Attribute::Dns,
            count: 2
        })
    );
}

#[test]
fn a_rule_that_matches_and_cannot_name_refuses_whatever_comes_below() {
    let attribute = Attribute::Cn;
    for (cn, error) in [
        (&[][..], Unmatched::NoValue { rule: 1, attribute }),
        (
            &["a", "a"],
            Unmatched::SeveralValues {
                rule: 1,
                attribute,
                count: 2,
            },
        ),
        (&["default"], Unmatched::DefaultUser { rule: 1, attribute }),
        (&[""], Unmatched::InvalidName { rule: 1, attribute }),
        (&["a b"], Unmatched::InvalidName { rule: 1, attribute }),
        (&["a\0"], Unmatched::InvalidName { rule: 1, attribute }),
    ] {
        let certificate = Certificate {
            cn: cn.iter().map(|&name| name.to_owned()).collect(),
            ..certificate()
        };
        let rules = [
            rule(&[(Attribute::O, &["other"])], "a"),
            rule(&[], "$cn"),
            rule(&[(Attribute::O, &["Example"])], "c"),
        ];
        assert_eq!(
            resolve(&rules, &subject(&certificate)),
            Err(error),
            "{cn:?}"
        );
    }
    let text = Unmatched::NoValue { rule: 1, attribute }.to_string();
    assert_eq!(text, "identity[1] matches, but the certificate has no cn");
}

#[test]
fn a_list_of_users_keeps_its_order() {
    let naming = Naming::from_users(&["b", "a"]).unwrap();
    let rule = Rule::new(vec![], None, None, naming, AuthKind::Password).unwrap();
    let identity = resolve(&[rule], &bare(None, "main")).unwrap();
    assert_eq!(identity.who, Who::OneOf(["b".into(), "a".into()].into()));
}

#[test]
fn rules_that_prove_nothing_are_none() {
    let new = |user, auth| Rule::new(vec![], None, None, Naming::from_user(user).unwrap(), auth);
    let error = |user, auth| new(user, auth).err();
    assert_eq!(
        error("u", AuthKind::Certificate),
        Some(RuleError::NothingProved)
    );
    assert_eq!(error("u", AuthKind::Address), None);
    assert_eq!(error("$cn", AuthKind::Certificate), None);
    for auth in [AuthKind::Certificate, AuthKind::Address] {
        assert_eq!(error("$auth", auth), Some(RuleError::ChosenWithoutPassword));
    }
}

#[test]
fn only_a_restricted_issuer_is_one() {
    for (conditions, user, any) in [
        (&[][..], "$cn", true),
        (&[(Attribute::Cn, &["a"][..])], "$cn", true),
        (&[(Attribute::IssuerCn, &["CA"])], "$cn", false),
        (&[(Attribute::IssuerCn, &["CA", "CB"])], "$cn", false),
        (&[(Attribute::IssuerCn, &["*"])], "$cn", true),
        (&[(Attribute::IssuerCn, &["CA", "**"])], "$uri", true),
        (&[(Attribute::Cn, &["a"])], "u", false),
    ] {
        assert_eq!(
            rule(conditions, user).trusts_any_issuer(),
            any,
            "{conditions:?}"
        );
    }
}

#[test]
fn user_names_are_what_redis_takes() {
    for name in ["a", "$x", "spiffe://a/b", "ü", "a,b"] {
        assert!(is_user_name(name), "{name:?}");
    }
    for name in ["", " ", "a b", "a\t", "a\n", "\u{b}", "\u{c}", "\r", "a\0"] {
        assert!(!is_user_name(name), "{name:?}");
    }
    assert_eq!(Naming::from_user("$cns"), Err(NamingError::UnknownVariable));
}
