//! `/livez`, `/readyz`, `/healthz`: plain `ok`, or which check fails and why.

/// A check and what it found: `Err` says why not.
pub(crate) type Check = (&'static str, Result<(), String>);

/// How an endpoint is asked.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Lists every check. A failure lists them all the same.
    pub(crate) verbose: bool,
    /// Checks that are not to be looked at.
    pub(crate) excluded: Vec<&'a str>,
}

/// Status code and text of an answer. Who may ask is not known here, so why a check fails is told to the log alone,
/// as upstream does.
pub(crate) fn answer(endpoint: &str, checks: &[Check], asked: &Asked<'_>) -> (u16, String) {
    let (mut text, mut well) = (String::new(), true);
    for (name, found) in checks {
        match found {
            _ if asked.excluded.contains(name) => text.extend(["[+]", name, " excluded: ok\n"]),
            Ok(()) => text.extend(["[+]", name, " ok\n"]),
            Err(why) => {
                tracing::warn!(endpoint, check = name, %why, "health check failed");
                text.extend(["[-]", name, " failed: reason withheld\n"]);
                well = false;
            }
        }
    }
    let known = |name: &&str| checks.iter().any(|(known, _)| known == name);
    let mut strays: Vec<&str> =
        asked.excluded.iter().copied().filter(|name| !known(name)).collect();
    strays.sort_unstable();
    strays.dedup();
    if !strays.is_empty() {
        let strays: Vec<String> = strays.iter().map(|name| format!("{name:?}")).collect();
        let strays = strays.join(", ");
        text.extend([
            "warn: some health checks cannot be excluded: no matches for ",
            &strays,
            "\n",
        ]);
    }
    if well && !asked.verbose {
        return (200, "ok".to_owned());
    }
    text.extend([endpoint, " check ", if well { "passed" } else { "failed" }, "\n"]);
    (if well { 200 } else { 500 }, text)
}

/// The answer of one check alone, `/readyz/ping`.
pub(crate) fn alone(check: &Check) -> (u16, String) {
    let (name, found) = check;
    match found {
        Ok(()) => (200, "ok".to_owned()),
        Err(why) => {
            tracing::warn!(check = name, %why, "health check failed");
            (500, "internal server error: reason withheld\n".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbose() -> Asked<'static> {
        Asked { verbose: true, excluded: Vec::new() }
    }

    #[test]
    fn a_healthy_server_says_ok() {
        let checks = [("ping", Ok(())), ("store", Ok(()))];
        assert_eq!(answer("readyz", &checks, &Asked::default()), (200, "ok".to_owned()));
        let (code, text) = answer("readyz", &checks, &verbose());
        assert_eq!((code, text.as_str()), (200, "[+]ping ok\n[+]store ok\nreadyz check passed\n"));
    }

    #[test]
    fn a_failing_check_is_named_and_its_reason_kept() {
        let checks = [("ping", Ok(())), ("store", Err("no space left".to_owned()))];
        let (code, text) = answer("readyz", &checks, &Asked::default());
        assert_eq!(code, 500);
        assert_eq!(text, "[+]ping ok\n[-]store failed: reason withheld\nreadyz check failed\n");
        assert_eq!(alone(&checks[0]), (200, "ok".to_owned()));
        assert_eq!(alone(&checks[1]).0, 500);
    }

    #[test]
    fn excluded_checks_are_not_looked_at_and_strays_are_named() {
        let checks = [("ping", Ok(())), ("store", Err("no space left".to_owned()))];
        let asked = Asked { verbose: true, excluded: vec!["store", "x", "b", "x"] };
        let want = "[+]ping ok\n[+]store excluded: ok\n\
            warn: some health checks cannot be excluded: no matches for \"b\", \"x\"\nlivez check passed\n";
        assert_eq!(answer("livez", &checks, &asked), (200, want.to_owned()));
        assert_eq!(answer("livez", &checks, &Asked { verbose: false, ..asked }).1, "ok");
    }
}
