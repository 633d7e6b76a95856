//! A failed request to the server, in one plain sentence that says what to do.

use crate::Error;
use std::error::Error as Cause;
use std::io;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nothing listens there.
    Refused,
    /// The connection ended before the answer.
    Closed,
    /// No answer in time.
    Silent,
    /// No way there.
    Unreachable,
    /// The server's name is unknown.
    NoName,
    /// The server's certificate is not trusted.
    Stranger,
    /// The server does not accept our certificate.
    Unaccepted,
}

impl Why {
    fn sentence(self) -> &'static str {
        match self {
            Self::Refused => {
                "nothing listens at the server's address (connection refused); is the server running?"
            }
            Self::Closed => {
                "the server closed the connection; it may be stopping or starting again"
            }
            Self::Silent => {
                "the server did not answer in time; is it overloaded, or cut off from here?"
            }
            Self::Unreachable => {
                "there is no way to the server from here; check --server and the network"
            }
            Self::NoName => {
                "the server's name cannot be resolved; check --server and the name service"
            }
            Self::Stranger => {
                "the server's certificate is not good for its address and the authority given by --ca-file or \
                 --ca-hash"
            }
            Self::Unaccepted => {
                "the server does not accept this node's certificate; is it the server that this node has joined?"
            }
        }
    }
}

/// What went wrong, for a log line.
pub(crate) fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            format!("the server answered: {} ({})", status.message, status.code)
        }
        other => match why(other) {
            Some(Why::Stranger) => {
                format!("{}: {}", Why::Stranger.sentence(), last_words(other))
            }
            Some(why) => why.sentence().to_owned(),
            None => chain(other),
        },
    }
}

/// What a failed call says to the person who starts the agent.
pub(crate) fn of_join(error: &kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 401 => Error::Refused(
            "the server does not know the join token (401 Unauthorized); read a valid one from <data-dir>/join-token \
             on the server"
                .to_owned(),
        ),
        kube::Error::Api(status) => {
            Error::Refused(format!("the server refused: {} ({})", status.message, status.code))
        }
        other => Error::Trust(plain(other)),
    }
}

/// Whether the server does not know who we are.
pub(crate) fn is_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 401,
        other => why(other) == Some(Why::Unaccepted),
    }
}

/// The same for a connection that is not made through the client.
pub(crate) fn plain_io(error: &io::Error) -> String {
    why(error).map_or_else(|| error.to_string(), |why| why.sentence().to_owned())
}

fn causes<'a>(error: &'a (dyn Cause + 'static)) -> impl Iterator<Item = &'a (dyn Cause + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // an io::Error does not name what it carries as its source
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Cause + 'static)),
            None => error.source(),
        }
    })
}

fn why(error: &(dyn Cause + 'static)) -> Option<Why> {
    let mut found = None;
    for cause in causes(error) {
        // the innermost cause knows best
        found = of_tls(cause).or_else(|| of_io(cause)).or_else(|| of_http(cause)).or(found);
    }
    found
}

fn of_tls(cause: &(dyn Cause + 'static)) -> Option<Why> {
    match cause.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(_) => Some(Why::Stranger),
        rustls::Error::AlertReceived(_) => Some(Why::Unaccepted),
        _ => None,
    }
}

fn of_io(cause: &(dyn Cause + 'static)) -> Option<Why> {
    use io::ErrorKind as Kind;
    let error = cause.downcast_ref::<io::Error>()?;
    match error.kind() {
        Kind::ConnectionRefused => Some(Why::Refused),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::UnexpectedEof => Some(Why::Closed),
        Kind::TimedOut => Some(Why::Silent),
        Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::NetworkDown => {
            Some(Why::Unreachable)
        }
        _ if error.to_string().contains("lookup address") => Some(Why::NoName),
        _ => None,
    }
}

fn of_http(cause: &(dyn Cause + 'static)) -> Option<Why> {
    let error = cause.downcast_ref::<hyper::Error>()?;
    if error.is_timeout() {
        return Some(Why::Silent);
    }
    (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
        .then_some(Why::Closed)
}

fn last_words(error: &(dyn Cause + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error with all its causes.
fn chain(error: &(dyn Cause + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let more = cause.to_string();
        if text.is_empty() {
            text = more;
        } else if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(error: impl Into<Box<dyn Cause + Send + Sync>>) -> kube::Error {
        kube::Error::Service(error.into())
    }

    #[test]
    fn every_way_to_fail_has_its_sentence() {
        let cases = [
            (io::Error::from(io::ErrorKind::ConnectionRefused), "nothing listens"),
            (
                io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "peer closed connection without sending TLS close_notify: https://docs.rs/rustls",
                ),
                "the server closed the connection",
            ),
            (io::Error::from(io::ErrorKind::TimedOut), "did not answer in time"),
            (io::Error::from(io::ErrorKind::HostUnreachable), "no way to the server"),
            (
                io::Error::other("failed to lookup address information: Name or service not known"),
                "cannot be resolved",
            ),
            (
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
                ),
                "not good for its address and the authority given by --ca-file",
            ),
            (
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA),
                ),
                "does not accept this node's certificate",
            ),
        ];
        for (error, words) in cases {
            let text = plain(&service(error));
            assert!(text.contains(words), "{text}");
            assert!(!text.contains("docs.rs"), "{text}");
        }
    }

    #[test]
    fn what_has_no_sentence_is_told_with_all_its_causes() {
        let inner = io::Error::other("the inner one");
        let text = plain(&service(io::Error::other(inner)));
        assert!(text.contains("the inner one"), "{text}");
    }

    #[test]
    fn only_a_server_that_does_not_know_us_makes_us_join_anew() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        assert!(is_unknown(&service(io::Error::new(io::ErrorKind::InvalidData, alert))));
        assert!(!is_unknown(&service(io::Error::from(io::ErrorKind::ConnectionRefused))));
    }
}
