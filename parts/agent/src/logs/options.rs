//! What of a log is wanted.

use jiff::{SignedDuration, Timestamp};

/// Which of a container's two streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Streams {
    #[default]
    All,
    Stdout,
    Stderr,
}

/// Options of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    /// Lines before this moment are left out.
    pub(super) since: Option<Timestamp>,
    /// Lines from the end.
    pub(super) tail: Option<u64>,
    /// Bytes after which the answer ends.
    pub(super) limit: Option<u64>,
    pub(super) streams: Streams,
}

impl Options {
    /// Reads a query string. The server has checked it; this is for those who come directly.
    pub(super) fn read(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = || {
                let wrong = |_| format!("{key}: {value:?} is no whole number of at least 0");
                value.parse::<u64>().map_err(wrong)
            };
            let flag = !matches!(value.to_ascii_lowercase().as_str(), "false" | "0");
            match key.as_ref() {
                "follow" => found.follow = flag,
                "previous" => found.previous = flag,
                "timestamps" => found.timestamps = flag,
                "tailLines" => found.tail = Some(number()?),
                "limitBytes" => found.limit = Some(number()?),
                "sinceSeconds" => {
                    let back = i64::try_from(number()?).unwrap_or(i64::MAX);
                    let since = now.checked_sub(SignedDuration::from_secs(back));
                    found.since = Some(since.unwrap_or(Timestamp::MIN));
                }
                "sinceTime" => {
                    let wrong = |_| format!("sinceTime: {value:?} is no time");
                    found.since = Some(value.parse().map_err(wrong)?);
                }
                "stream" => {
                    found.streams = match value.as_ref() {
                        "Stdout" => Streams::Stdout,
                        "Stderr" => Streams::Stderr,
                        _ => Streams::All,
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_the_query() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let read = |query: &str| Options::read(query, now);
        assert_eq!(read("").unwrap(), Options::default());
        let all = read(
            "follow=true&previous=1&timestamps=false&tailLines=5&limitBytes=9&sinceSeconds=60",
        );
        let all = all.unwrap();
        assert!(all.follow && all.previous && !all.timestamps);
        assert_eq!((all.tail, all.limit), (Some(5), Some(9)));
        assert_eq!(all.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let zoned = read("sinceTime=2026-01-01T01:00:00%2B01:00").unwrap();
        assert_eq!(zoned.since, all.since);
        assert!(read("tailLines=-1").is_err() && read("sinceTime=soon").is_err());
    }
}
