use proptest::prelude::*;

use super::*;

/// Reads all of it at once.
fn read(bytes: &[u8]) -> Result<HeaderStep, HeaderError> {
    HeaderReader::default().advance(bytes)
}

fn client(text: &str) -> Option<Origin> {
    Some(Origin::Client(text.parse().unwrap()))
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = V2_START.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

const V4: [u8; 12] = [10, 1, 2, 3, 10, 9, 9, 9, 0xdd, 0xd5, 0x18, 0xec];

fn v6() -> Vec<u8> {
    let mut bytes = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    bytes.extend([0; 16]);
    bytes.extend([0x01, 0x00, 0x18, 0xec]);
    bytes
}

#[test]
fn what_balancers_send_is_read() {
    let tls_info = [0x20, 0, 8, 1, 0, 0, 0, 0, b'x', b'y', b'z'];
    let cases = [
        (b"PROXY TCP4 10.1.2.3 10.9.9.9 56789 6380\r\n".to_vec(), client("10.1.2.3:56789")),
        (b"PROXY TCP6 2001:db8::7 ::1 256 6380\r\n".to_vec(), client("[2001:db8::7]:256")),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(), client("255.255.255.255:65535")),
        (b"PROXY TCP4 10.1.2.3 10.9.9.9 0 0\r\n".to_vec(), client("10.1.2.3:0")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Some(Origin::Sender)),
        (b"PROXY UNKNOWN ::1 nonsense \xff\r\n".to_vec(), Some(Origin::Sender)),
        (v2(0x21, 0x11, &V4), client("10.1.2.3:56789")),
        (v2(0x21, 0x21, &v6()), client("[2001:db8::7]:256")),
        (v2(0x21, 0x11, &[&V4[..], &tls_info].concat()), client("10.1.2.3:56789")),
        (v2(0x20, 0x00, &[]), Some(Origin::Sender)),
        // What LOCAL says of addresses is not looked at.
        (v2(0x20, 0x11, &[1]), Some(Origin::Sender)),
        (v2(0x20, 0xff, &tls_info), Some(Origin::Sender)),
        (v2(0x21, 0x11, &[&V4[..], &[0; V2_MOST - 12]].concat()), client("10.1.2.3:56789")),
        (
            b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n".to_vec(),
            Some(Origin::Sender),
        ),
    ];
    for (bytes, origin) in cases {
        let expected = HeaderStep {
            consumed: bytes.len(),
            origin,
        };
        assert_eq!(read(&bytes), Ok(expected), "{}", bytes.escape_ascii());
        // And what follows is left alone.
        let followed = [&bytes[..], b"\x16\x03\x01"].concat();
        assert_eq!(read(&followed), Ok(expected), "{}", bytes.escape_ascii());
        // Each beginning is a beginning.
        for cut in 0..bytes.len() {
            let step = read(&bytes[..cut]).unwrap();
            assert_eq!((step.consumed, step.origin), (cut, None));
        }
        let mut reader = HeaderReader::default();
        let origins = bytes
            .iter()
            .map(|byte| reader.advance(&[*byte]).unwrap().origin);
        assert_eq!(origins.last().unwrap(), origin);
    }
}

#[test]
fn what_the_specification_does_not_write_is_refused() {
    let no_line = HeaderError::Malformed("its line ends without CRLF");
    let no_port = HeaderError::Malformed("a port is no number from 0 to 65535");
    let no_address = HeaderError::Malformed("an address is not one of its protocol");
    let no_protocol = HeaderError::Malformed("its protocol is not TCP4, TCP6 or UNKNOWN");
    let too_many = HeaderError::Malformed("it has more than five fields");
    let cases: &[(&[u8], HeaderError)] = &[
        (b"\x16\x03\x01\x02", HeaderError::Missing),
        (b"*1\r\n$4\r\nPING\r\n", HeaderError::Missing),
        (b"PING\r\n", HeaderError::Missing),
        (b"proxy TCP4", HeaderError::Missing),
        (b"PROXY\tTCP4", HeaderError::Missing),
        (b"PROXYTCP4", HeaderError::Missing),
        (b"\r\n\r\nPING", HeaderError::Missing),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", no_line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", no_line),
        (b"PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n", no_line),
        (b"PROXY \r\n", no_protocol),
        (b"PROXY UNKNOWNX\r\n", no_protocol),
        (b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", no_protocol),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", no_protocol),
        (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", too_many),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", too_many),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", too_many),
        (b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", too_many),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 +2\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n", no_port),
        (b"PROXY TCP4 1.2.3.4\r\n", no_address),
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", no_address),
        (b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", no_address),
        (b"PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n", no_address),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", no_address),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", no_address),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", no_address),
        (
            b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n",
            HeaderError::Malformed("it is no text"),
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(bytes), Err(*error), "{}", bytes.escape_ascii());
    }
    let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    assert_eq!(read(&endless), Err(HeaderError::TooLong(V1_MOST)));
    assert_eq!(
        read(&endless[..V1_MOST]),
        Err(HeaderError::TooLong(V1_MOST))
    );
    assert!(read(&endless[..V1_MOST - 1]).is_ok());
}

#[test]
fn a_binary_header_is_refused_as_soon_as_it_can_be() {
    let short = HeaderError::Malformed("its addresses don't fit its length");
    let unknown = HeaderError::Malformed("its family or protocol is unknown");
    let cases = [
        (
            v2(0x11, 0x11, &V4),
            13,
            HeaderError::Malformed("its version is not 2"),
        ),
        (
            v2(0x31, 0x11, &V4),
            13,
            HeaderError::Malformed("its version is not 2"),
        ),
        (
            v2(0x22, 0x11, &V4),
            13,
            HeaderError::Malformed("its command is unknown"),
        ),
        (
            v2(0x21, 0x00, &V4),
            14,
            HeaderError::NoAddress("the family or protocol is unspecified"),
        ),
        (
            v2(0x21, 0x10, &V4),
            14,
            HeaderError::NoAddress("the family or protocol is unspecified"),
        ),
        (
            v2(0x21, 0x31, &[0; 216]),
            14,
            HeaderError::NoAddress("it is a unix socket's"),
        ),
        (
            v2(0x21, 0x12, &V4),
            14,
            HeaderError::NoAddress("it is UDP's"),
        ),
        (v2(0x21, 0x41, &V4), 14, unknown),
        (v2(0x21, 0x13, &V4), 14, unknown),
        (v2(0x21, 0x11, &V4[..11]), 16, short),
        (v2(0x21, 0x21, &V4), 16, short),
        (
            v2(0x21, 0x11, &[0; V2_MOST + 1]),
            16,
            HeaderError::TooLong(V2_FIXED + V2_MOST),
        ),
        (
            v2(0x20, 0x00, &[0; V2_MOST + 1]),
            16,
            HeaderError::TooLong(V2_FIXED + V2_MOST),
        ),
    ];
    for (bytes, at, error) in cases {
        assert_eq!(read(&bytes), Err(error));
        assert_eq!(read(&bytes[..at]), Err(error));
        assert!(read(&bytes[..at - 1]).is_ok());
    }
}

/// Headers, good ones and such that are nearly good.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("PROXY".to_owned()),
        Just("TCP4".to_owned()),
        Just("TCP6".to_owned()),
        Just("UNKNOWN".to_owned()),
        Just("\r\n".to_owned()),
        any::<Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<Ipv6Addr>().prop_map(|ip| ip.to_string()),
        any::<u32>().prop_map(|number| (number % 70_000).to_string()),
    ];
    let words = proptest::collection::vec(word, 0..8);
    let line = words.prop_map(|words| format!("PROXY {}\r\n", words.join(" ")).into_bytes());
    let good = (any::<SocketAddr>(), any::<u16>()).prop_map(|(source, port)| {
        let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let ip = source.ip();
        format!("PROXY {protocol} {ip} {ip} {} {port}\r\n", source.port()).into_bytes()
    });
    let rest = proptest::collection::vec(any::<u8>(), 0..300);
    let command = prop_oneof![Just(0x21), Just(0x20), any::<u8>()];
    let family = prop_oneof![Just(0x11), Just(0x21), any::<u8>()];
    let binary =
        (command, family, rest).prop_map(|(command, family, rest)| v2(command, family, &rest));
    prop_oneof![
        line,
        good,
        binary,
        proptest::collection::vec(any::<u8>(), 0..200)
    ]
}

proptest! {
    /// However it is cut, the same comes out at the same place.
    #[test]
    fn cuts_change_nothing(
        header in header(),
        behind in proptest::collection::vec(any::<u8>(), 0..40),
        cuts in proptest::collection::vec(1_usize..30, 1..40),
    ) {
        let bytes = [header, behind].concat();
        let whole = read(&bytes);
        let mut reader = HeaderReader::default();
        let mut rest = &bytes[..];
        let mut consumed = 0;
        let mut cuts = cuts.iter().cycle();
        let pieces = loop {
            let (piece, next) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            match reader.advance(piece) {
                Ok(step) => {
                    prop_assert!(step.consumed == piece.len() || step.origin.is_some());
                    consumed += step.consumed;
                    if step.origin.is_some() || next.is_empty() {
                        break Ok(HeaderStep { consumed, ..step });
                    }
                }
                Err(error) => break Err(error),
            }
            rest = next;
        };
        prop_assert_eq!(whole, pieces);
    }

    /// What version 1 is made of is what is read.
    #[test]
    fn addresses_survive(source: SocketAddr, destination: u16) {
        let ip = source.ip();
        let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {protocol} {ip} {ip} {} {destination}\r\n", source.port());
        let step = read(line.as_bytes()).unwrap();
        prop_assert_eq!(step.origin, Some(Origin::Client(SocketAddr::new(ip, source.port()))));
        let (family, octets) = match ip {
            IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
            IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
        };
        let ports = [source.port().to_be_bytes(), destination.to_be_bytes()].concat();
        let binary = v2(0x21, family, &[octets.clone(), octets, ports].concat());
        prop_assert_eq!(read(&binary).unwrap().origin, step.origin);
    }

    /// The source of a header never comes out where one byte of it isn't there.
    #[test]
    fn nothing_comes_of_a_beginning(header in header(), part in 0.0_f64..1.0) {
        if let Ok(HeaderStep { consumed, origin: Some(_) }) = read(&header) {
            let cut = ((consumed as f64) * part) as usize;
            prop_assert_eq!(read(&header[..cut.min(consumed - 1)]).unwrap().origin, None);
        }
    }
}
