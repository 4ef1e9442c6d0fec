//! Whether a client that is in may stay: asked anew when the settings have changed, and when its
//! certificate ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::identity::{Identity, Subject, resolve};

use super::connection::Downstream;
use super::generation::Settings;
use super::host::Peer;

/// What the settings say of a client that may stay.
#[derive(Debug)]
pub(super) struct Standing {
    /// Who it is.
    pub(super) identity: Identity,
    /// When its certificate, or an issuer of it, ends; seconds since the Unix epoch.
    pub(super) not_after: Option<i64>,
}

/// Why it may not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Expulsion {
    /// The label used in the audit. Stable.
    pub(super) reason: &'static str,
    /// The whole story.
    pub(super) detail: String,
}

/// Between two looks at a certificate's end. The clock that certificates go by may jump, or stand still
/// for as long as a machine sleeps; a timer would not notice.
const LOOK: Duration = Duration::from_secs(600);

/// Judges a client by these settings, as if it came now.
pub(super) fn judge(
    settings: &Settings,
    listener: usize,
    peer: &Peer,
    downstream: &Downstream,
    now: SystemTime,
) -> Result<Standing, Expulsion> {
    let gone = |reason, detail: &str| Expulsion {
        reason,
        detail: detail.to_owned(),
    };
    let Some(listener) = settings.listener(listener) else {
        return Err(gone(
            "listener_removed",
            "the configuration has the listener no more",
        ));
    };
    if peer
        .proxy_source
        .is_some_and(|proxy| !listener.takes_headers_of(proxy))
    {
        return Err(gone(
            "proxy_header",
            "proxy_protocol_from has the balancer no more that told its address",
        ));
    }
    if !peer.is_proxied
        && peer
            .source
            .is_some_and(|source| listener.takes_headers_of(source))
    {
        return Err(gone(
            "proxy_header",
            "proxy_protocol_from has its address now, and it has sent no PROXY header",
        ));
    }
    if peer
        .source
        .is_some_and(|source| !listener.sources.admit(source))
    {
        return Err(gone(
            "source",
            "the listener's allow and deny let it in no more",
        ));
    }
    let certificate = match (&listener.tls, downstream.tls()) {
        (Some(tls), Some(stream)) => {
            let verified = tls.verified(stream.get_ref().1, now);
            verified.map_err(|refusal| gone(refusal.label(), &refusal.to_string()))?
        }
        (None, None) => None,
        _ => {
            return Err(gone(
                "listener_changed",
                "the listener's TLS was turned on or off",
            ));
        }
    };
    let subject = Subject {
        certificate: certificate.as_deref(),
        source: peer.source,
        listener: &peer.listener,
    };
    let identity = resolve(&settings.identities, &subject);
    let identity = identity.map_err(|unmatched| gone("identity", &unmatched.to_string()))?;
    Ok(Standing {
        identity,
        not_after: certificate.map(|certificate| certificate.not_after),
    })
}

/// How long until a certificate that ends then is to be looked at again.
pub(super) fn until_look(not_after: i64, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // The second that it ends with is still good.
    let end = u64::try_from(not_after)
        .unwrap_or_default()
        .saturating_add(1);
    Duration::from_secs(end).saturating_sub(now).min(LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_looked_at_behind_its_end_and_now_and_then() {
        let now = UNIX_EPOCH + Duration::from_millis(100_500);
        let cases = [
            (99, 0),
            (100, 500),
            (105, 5_500),
            (10_000, 600_000),
            (-5, 0),
        ];
        for (not_after, milliseconds) in cases {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(until_look(not_after, now), expected, "{not_after}");
        }
    }
}
