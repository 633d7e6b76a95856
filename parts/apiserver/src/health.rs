//! `/livez`, `/readyz`, `/healthz`: plain `ok`, or which check fails and why.

/// A check and what it found: `Err` says why not.
pub(crate) type Check = (&'static str, Result<(), String>);

/// Status code and text of an answer. `verbose` lists every check; a failure lists them all the same, as
/// upstream does, with the reasons kept for the log.
pub(crate) fn answer(endpoint: &str, checks: &[Check], verbose: bool) -> (u16, String) {
    let well = checks.iter().all(|(_, found)| found.is_ok());
    if well && !verbose {
        return (200, "ok".to_owned());
    }
    let mut text = String::new();
    for (name, found) in checks {
        match found {
            Ok(()) => text.extend(["[+]", name, " ok\n"]),
            Err(why) => {
                tracing::warn!(endpoint, check = name, %why, "health check failed");
                text.extend(["[-]", name, " failed: ", why, "\n"]);
            }
        }
    }
    text.extend([endpoint, " check ", if well { "passed" } else { "failed" }, "\n"]);
    (if well { 200 } else { 500 }, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_server_says_ok() {
        let checks = [("ping", Ok(())), ("store", Ok(()))];
        assert_eq!(answer("readyz", &checks, false), (200, "ok".to_owned()));
        let (code, text) = answer("readyz", &checks, true);
        assert_eq!((code, text.as_str()), (200, "[+]ping ok\n[+]store ok\nreadyz check passed\n"));
    }

    #[test]
    fn a_failing_check_is_named_with_its_reason() {
        let checks = [("ping", Ok(())), ("store", Err("no space left".to_owned()))];
        let (code, text) = answer("readyz", &checks, false);
        assert_eq!(code, 500);
        assert_eq!(text, "[+]ping ok\n[-]store failed: no space left\nreadyz check failed\n");
    }
}
