//! What a certificate says, as plain strings.
//!
//! Reads, never judges trust. A value that could be read in two ways (NUL, control bytes, an
//! ambiguous character set) makes the whole certificate malformed: a rule must match what the
//! authority saw when it signed.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Oid, Tag, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_DOMAIN_COMPONENT, OID_PKCS9_EMAIL_ADDRESS, OID_USERID, OID_X509_COMMON_NAME,
    OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME, OID_X509_ORGANIZATION_NAME,
    OID_X509_ORGANIZATIONAL_UNIT, OID_X509_SERIALNUMBER, OID_X509_STATE_OR_PROVINCE_NAME,
    OID_X509_STREET_ADDRESS,
};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::files;
use super::roots::{CertificateRefusal, sha256_hex};
use crate::identity::Certificate;

/// The facts of one certificate, its issuer's key excepted, which only a verified path knows.
pub(super) fn certificate(der: &[u8]) -> Result<Certificate, CertificateRefusal> {
    let parsed = files::parse(der).ok_or(CertificateRefusal::Malformed("it cannot be parsed"))?;
    let subject = parsed.subject();
    let mut certificate = Certificate {
        cn: attributes(subject, &OID_X509_COMMON_NAME)?,
        ou: attributes(subject, &OID_X509_ORGANIZATIONAL_UNIT)?,
        o: attributes(subject, &OID_X509_ORGANIZATION_NAME)?,
        spki_sha256: sha256_hex(parsed.public_key().raw),
        issuer_cn: attributes(parsed.issuer(), &OID_X509_COMMON_NAME)?,
        subject: distinguished_name(subject),
        issuer: distinguished_name(parsed.issuer()),
        serial: serial(&parsed),
        not_after: parsed.validity().not_after.timestamp(),
        ..Certificate::default()
    };
    alternative_names(&parsed, &mut certificate)?;
    Ok(certificate)
}

/// A name in the form of RFC 4514: last attribute first, everything that could deceive escaped.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let relative_names: Vec<_> = name.iter_rdn().collect();
    for (index, relative_name) in relative_names.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in relative_name.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// As openssl and the authorities' lists write it, but in lower case.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> String {
    // DER puts a zero byte before a first byte above 0x7f; they don't.
    match certificate.raw_serial() {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        serial => hex(serial),
    }
}

fn attributes(name: &X509Name<'_>, oid: &Oid<'_>) -> Result<Vec<String>, CertificateRefusal> {
    name.iter_attributes()
        .filter(|attribute| attribute.attr_type() == oid)
        .map(|attribute| {
            let text = decode(attribute.attr_value()).ok_or(CertificateRefusal::Malformed(
                "a name in an unknown character set",
            ))?;
            checked(text)
        })
        .collect()
}

fn alternative_names(
    parsed: &X509Certificate<'_>,
    certificate: &mut Certificate,
) -> Result<(), CertificateRefusal> {
    let extension = parsed
        .subject_alternative_name()
        .map_err(|_| CertificateRefusal::Malformed("a damaged subject alternative name"))?;
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    for name in names {
        let (list, text) = match name {
            // A wildcard stays as it is written: the rules' patterns match it as text, so it never
            // stands for the names it covers.
            GeneralName::DNSName(text) => (&mut certificate.dns, text.to_ascii_lowercase()),
            GeneralName::URI(text) => (&mut certificate.uri, (*text).to_owned()),
            GeneralName::RFC822Name(text) => (&mut certificate.email, (*text).to_owned()),
            GeneralName::Invalid(..) => {
                return Err(CertificateRefusal::Malformed(
                    "a damaged subject alternative name",
                ));
            }
            _ => continue,
        };
        // All three are IA5String. The parser is lenient and takes UTF-8, where look-alikes live.
        if !text.is_ascii() {
            return Err(CertificateRefusal::Malformed(
                "a subject alternative name that is not ASCII",
            ));
        }
        list.push(checked(text)?);
    }
    Ok(())
}

fn checked(text: String) -> Result<String, CertificateRefusal> {
    if text.is_empty() {
        return Err(CertificateRefusal::Malformed("an empty name"));
    }
    if text.contains(char::is_control) {
        return Err(CertificateRefusal::Malformed(
            "a name with control characters",
        ));
    }
    Ok(text)
}

fn decode(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(value.data).ok().map(str::to_owned),
        // T.61 has no agreed meaning beyond ASCII: some authorities write Latin-1 under this tag,
        // some UTF-8.
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::T61String => {
            let text = std::str::from_utf8(value.data).ok()?;
            text.is_ascii().then(|| text.to_owned())
        }
        Tag::BmpString => {
            let (units, []) = value.data.as_chunks::<2>() else {
                return None;
            };
            String::from_utf16(
                &units
                    .iter()
                    .map(|unit| u16::from_be_bytes(*unit))
                    .collect::<Vec<_>>(),
            )
            .ok()
        }
        _ => None,
    }
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let value = attribute.attr_value();
    match (short_name(attribute.attr_type()), decode(value)) {
        (Some(name), Some(value)) => {
            text.push_str(name);
            text.push('=');
            write_escaped(text, &value);
        }
        (name, _) => {
            // RFC 4514, 2.4: the hex of the DER. What cannot be encoded again leaves the mark alone.
            let oid = attribute.attr_type().to_id_string();
            let _ = write!(
                text,
                "{}=#{}",
                name.unwrap_or(&oid),
                hex(&value.to_der_vec().unwrap_or_default())
            );
        }
    }
}

fn write_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            c if c.is_control() => {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(text, "\\{byte:02x}");
                }
            }
            c => text.push(c),
        }
    }
}

/// The names of RFC 4514, section 3, and two more that every tool prints.
fn short_name(oid: &Oid<'_>) -> Option<&'static str> {
    [
        (OID_X509_COMMON_NAME, "CN"),
        (OID_X509_LOCALITY_NAME, "L"),
        (OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
        (OID_X509_ORGANIZATION_NAME, "O"),
        (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
        (OID_X509_COUNTRY_NAME, "C"),
        (OID_X509_STREET_ADDRESS, "STREET"),
        (OID_DOMAIN_COMPONENT, "DC"),
        (OID_USERID, "UID"),
        (OID_PKCS9_EMAIL_ADDRESS, "emailAddress"),
        (OID_X509_SERIALNUMBER, "serialNumber"),
    ]
    .iter()
    .find_map(|(known, name)| (known == oid).then_some(*name))
}

#[cfg(test)]
mod tests;
