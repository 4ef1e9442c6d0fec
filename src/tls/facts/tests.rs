#![allow(clippy::unwrap_used, clippy::panic)]

use rcgen::string::{BmpString, Ia5String, TeletexString};
use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, SanType, SerialNumber};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::*;
use crate::tls::fixtures::{ca, leaf_params, signed};

/// Another attribute of the type that `DnType` names already: rcgen keeps one of each.
fn another(oid: &[u64]) -> DnType {
    DnType::CustomDnType(oid.to_vec())
}

const CN: [u64; 4] = [2, 5, 4, 3];
const OU: [u64; 4] = [2, 5, 4, 11];

fn with(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = leaf_params("cart");
    change(&mut params);
    signed(&params, &ca("root"))
}

fn facts(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    certificate(&with(change)).unwrap()
}

fn refusal(change: impl FnOnce(&mut CertificateParams)) -> &'static str {
    match certificate(&with(change)) {
        Err(CertificateRefusal::Malformed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

/// A subject alternative name with one entry of context tag `tag`.
fn raw_name(tag: u8, value: &[u8]) -> CustomExtension {
    let entry_len = u8::try_from(value.len()).unwrap();
    let mut der = vec![0x30, entry_len + 2, 0x80 | tag, entry_len];
    der.extend_from_slice(value);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], der)
}

#[test]
fn every_attribute_is_listed_in_its_order() {
    let certificate = facts(|params| {
        params.distinguished_name.push(another(&CN), "second");
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, "shop");
        params.distinguished_name.push(another(&OU), "web");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params.serial_number = Some(SerialNumber::from_slice(&[0xab, 0x01]));
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("Cart.Shop.Example")),
            SanType::URI(ia5("spiffe://prod/shop/Cart")),
            SanType::Rfc822Name(ia5("Cart@shop.example")),
            SanType::URI(ia5("https://two.example/")),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName(ia5("*.shop.example")),
        ];
    });
    assert_eq!(certificate.cn, ["cart", "second"]);
    assert_eq!(certificate.ou, ["shop", "web"]);
    assert_eq!(certificate.o, ["Example"]);
    assert_eq!(certificate.dns, ["cart.shop.example", "*.shop.example"]);
    assert_eq!(
        certificate.uri,
        ["spiffe://prod/shop/Cart", "https://two.example/"]
    );
    assert_eq!(certificate.email, ["Cart@shop.example"]);
    assert_eq!(certificate.issuer_cn, ["root"]);
    assert_eq!(certificate.serial, "ab01");
    assert_eq!(
        certificate.subject,
        "O=Example,OU=web,OU=shop,CN=second,CN=cart"
    );
}

#[test]
fn a_subject_is_written_as_rfc_4514_wants_it() {
    let subject = |text: &str| {
        let text = text.to_owned();
        facts(|params| {
            params.distinguished_name.push(DnType::LocalityName, text);
        })
        .subject
    };
    assert_eq!(subject("Köln"), "L=Köln,CN=cart");
    assert_eq!(
        subject("a,b+c\"d\\e<f>g;h"),
        "L=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h,CN=cart"
    );
    assert_eq!(subject(" #x "), "L=\\ #x\\ ,CN=cart");
    assert_eq!(subject("#x"), "L=\\#x,CN=cart");
    // Nothing of an attribute that rules don't match may break a line of the audit.
    assert_eq!(subject("a\n\0"), "L=a\\0a\\00,CN=cart");
    let certificate = facts(|params| params.distinguished_name.push(another(&[1, 2, 3]), "hi"));
    assert_eq!(certificate.subject, "1.2.3=#0c026869,CN=cart");
}

#[test]
fn values_with_nul_or_control_characters_are_refused() {
    for bad in ["cart\0.evil", "cart\n", "\u{7f}", "cart\u{85}"] {
        let reason = refusal(|params| params.distinguished_name.push(DnType::CommonName, bad));
        assert_eq!(reason, "a name with control characters");
        let reason = refusal(|params| params.distinguished_name.push(another(&OU), bad));
        assert_eq!(reason, "a name with control characters");
    }
    for tag in [1, 2, 6] {
        let reason = refusal(|params| params.custom_extensions = vec![raw_name(tag, b"cart\0x")]);
        assert_eq!(reason, "a name with control characters");
    }
    assert_eq!(
        refusal(|params| params.distinguished_name.push(DnType::CommonName, "")),
        "an empty name"
    );
    let mut params = leaf_params("cart");
    params.distinguished_name.push(DnType::CommonName, "cart");
    let issuer = signed(&params, &ca("ro\0ot"));
    assert!(matches!(
        certificate(&issuer),
        Err(CertificateRefusal::Malformed(_))
    ));
}

#[test]
fn alternative_names_beyond_ascii_are_refused() {
    for (tag, value) in [
        (2, "c\u{430}rt"),
        (6, "spiffe://prod/c\u{430}rt"),
        (1, "\u{e9}@x"),
    ] {
        let reason =
            refusal(|params| params.custom_extensions = vec![raw_name(tag, value.as_bytes())]);
        assert_eq!(reason, "a subject alternative name that is not ASCII");
    }
    let reason = refusal(|params| params.custom_extensions = vec![raw_name(2, b"\xff\xfe")]);
    assert_eq!(reason, "a damaged subject alternative name");
    let nonsense = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x04, 0x01, 0x00]);
    let reason = refusal(|params| params.custom_extensions = vec![nonsense]);
    assert_eq!(reason, "a damaged subject alternative name");
    let twice = || raw_name(2, b"cart");
    let reason = refusal(|params| params.custom_extensions = vec![twice(), twice()]);
    assert_eq!(reason, "a damaged subject alternative name");
}

#[test]
fn old_character_sets_are_decoded_or_refused() {
    let cn = |value: DnValue| {
        facts(|params| params.distinguished_name.push(DnType::CommonName, value)).cn
    };
    assert_eq!(
        cn(DnValue::BmpString(BmpString::try_from("Kärt").unwrap())),
        ["Kärt"]
    );
    assert_eq!(
        cn(DnValue::TeletexString(
            TeletexString::try_from("cart").unwrap()
        )),
        ["cart"]
    );
    let universal = DnValue::UniversalString("cart".try_into().unwrap());
    let reason = refusal(|params| {
        params
            .distinguished_name
            .push(DnType::CommonName, universal)
    });
    assert_eq!(reason, "a name in an unknown character set");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let der = with(|_| ());
    let mut longer = der.to_vec();
    longer.push(0);
    for bytes in [&[][..], b"nonsense", &longer, &der[..der.len() - 1]] {
        assert!(matches!(
            certificate(bytes),
            Err(CertificateRefusal::Malformed(_))
        ));
    }
}

#[test]
fn no_damage_makes_it_panic() {
    let der = with(|params| {
        let value = DnValue::BmpString(BmpString::try_from("Kärt").unwrap());
        params
            .distinguished_name
            .push(DnType::OrganizationName, value);
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("cart.example")),
            SanType::URI(ia5("spiffe://prod/cart")),
        ];
    });
    for index in 0..der.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = der.to_vec();
            damaged[index] ^= change;
            if let Ok(certificate) = certificate(&damaged) {
                let lists = [
                    &certificate.cn,
                    &certificate.o,
                    &certificate.dns,
                    &certificate.uri,
                ];
                assert!(lists.iter().all(|list| {
                    list.iter()
                        .all(|value| !value.is_empty() && !value.contains(char::is_control))
                }));
                assert!(!certificate.subject.contains(char::is_control));
            }
        }
        let _ = certificate(&der[..index]);
    }
}
