//! Links in what a pod answers, mended so that they lead back through the proxy.

use std::borrow::Cow;

/// Which attributes of which elements are links.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements whose content is text, whatever stands in it.
const TEXTS: &[&str] =
    &["iframe", "noembed", "noframes", "noscript", "script", "style", "textarea", "title", "xmp"];
const SPACE: [char; 5] = [' ', '\n', '\r', '\t', '\x0c'];
/// Characters and what stands for them in attributes.
const ESCAPES: [(char, &str); 6] = [
    ('&', "&amp;"),
    ('\'', "&#39;"),
    ('<', "&lt;"),
    ('>', "&gt;"),
    ('"', "&#34;"),
    ('\r', "&#13;"),
];

/// What is known of the links of one answer.
pub(super) struct Links<'a> {
    /// The path up to `proxy`.
    pub(super) root: &'a str,
    /// Host and port of what answered.
    pub(super) backend: &'a str,
    /// The host that was asked for.
    pub(super) asked: &'a str,
}

impl Links<'_> {
    /// A link as it leads through the proxy; one to elsewhere and one that is relative stay as they are.
    pub(super) fn mended(&self, link: &str) -> String {
        let (scheme, rest) = scheme(link);
        let (host, rest) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        let (path, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let elsewhere = !host.is_empty() && host != self.backend && host != self.asked;
        if elsewhere || !path.starts_with('/') {
            return link.to_owned();
        }
        let before = match scheme {
            _ if host.is_empty() || host != self.asked => String::new(),
            "" => format!("//{host}"),
            scheme => format!("{scheme}://{host}"),
        };
        if path.starts_with(self.root) {
            return format!("{before}{path}{tail}");
        }
        let slash = if path.ends_with('/') { "/" } else { "" };
        format!("{before}{}{}{slash}{tail}", self.root, clean(path))
    }
}

fn scheme(link: &str) -> (&str, &str) {
    match link.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) =>
        {
            (scheme, rest)
        }
        _ => ("", link),
    }
}

/// A path without empty and dotted parts and without a slash at its end.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

/// A page with its links mended; `None` where that would make more than `bytes_max` of it. Each link gets longer by the
/// root, so a page of nothing but short links grows a hundredfold.
pub(super) fn mended(page: &str, links: &Links<'_>, bytes_max: usize) -> Option<String> {
    let mut out = String::with_capacity(page.len() + 1024);
    let (mut done, mut at) = (0, 0);
    while let Some(found) = page.get(at..).and_then(|rest| rest.find('<')) {
        at += found;
        let rest = &page[at..];
        if rest.starts_with("<!--") {
            at += rest.find("-->").map_or(rest.len(), |end| end + 3);
            continue;
        }
        if !rest[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            at += 1;
            continue;
        }
        let tag = Tag::read(page, at);
        for (name, start, end) in tag.attributes {
            if !is_link(&tag.name, &name) {
                continue;
            }
            let written = &page[start..end];
            let written = match written.chars().next() {
                Some(quote @ ('"' | '\'')) => written[1..].trim_end_matches(quote),
                _ => written,
            };
            let link = unescaped(written);
            let new = links.mended(&link);
            if new != *link {
                out.push_str(&page[done..start]);
                out.extend(["\"", &escaped(&new), "\""]);
                done = end;
                if out.len() > bytes_max {
                    return None;
                }
            }
        }
        at = tag.end;
        if TEXTS.contains(&tag.name.as_str()) {
            at = closing(page, at, &tag.name);
        }
    }
    out.push_str(&page[done..]);
    Some(out)
}

/// Where an element that holds text ends.
fn closing(page: &str, mut at: usize, name: &str) -> usize {
    while let Some(found) = page[at..].find("</") {
        at += found;
        let named = page.as_bytes().get(at + 2..at + 2 + name.len());
        if named.is_some_and(|named| named.eq_ignore_ascii_case(name.as_bytes())) {
            return at;
        }
        at += 2;
    }
    page.len()
}

fn is_link(tag: &str, attribute: &str) -> bool {
    LINKS.iter().any(|(known, names)| *known == tag && names.contains(&attribute))
}

/// A tag that opens: its name, its attributes with where their values stand, quotes and all, and where it ends.
struct Tag {
    name: String,
    attributes: Vec<(String, usize, usize)>,
    end: usize,
}

impl Tag {
    fn read(page: &str, at: usize) -> Self {
        let until = |from: usize, stop: &[char]| {
            page[from..].find(stop).map_or(page.len(), |found| from + found)
        };
        let past = |from: usize, skip: &[char]| {
            page[from..].find(|c| !skip.contains(&c)).map_or(page.len(), |found| from + found)
        };
        let mut end = until(at + 1, &[' ', '\n', '\r', '\t', '\x0c', '/', '>']);
        let name = page[at + 1..end].to_ascii_lowercase();
        let mut attributes = Vec::new();
        loop {
            end = past(end, &[' ', '\n', '\r', '\t', '\x0c', '/']);
            if end >= page.len() {
                break;
            }
            if page[end..].starts_with('>') {
                end += 1;
                break;
            }
            // a name may begin with `=`
            let begin = end;
            let first = page[begin..].chars().next().map_or(1, char::len_utf8);
            end = until(begin + first, &[' ', '\n', '\r', '\t', '\x0c', '/', '>', '=']);
            let key = page[begin..end].to_ascii_lowercase();
            let sign = past(end, &SPACE);
            if !page[sign..].starts_with('=') {
                continue;
            }
            let start = past(sign + 1, &SPACE);
            end = match page[start..].chars().next() {
                Some(quote @ ('"' | '\'')) => (until(start + 1, &[quote]) + 1).min(page.len()),
                _ => until(start, &[' ', '\n', '\r', '\t', '\x0c', '>']),
            };
            attributes.push((key, start, end));
        }
        Self { name, attributes, end }
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let known = ESCAPES.iter().rev().fold(text.replace("&quot;", "\""), |text, (c, name)| {
        text.replace(name, c.encode_utf8(&mut [0; 4]))
    });
    Cow::Owned(known)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match ESCAPES.iter().find(|(known, _)| *known == c) {
            Some((_, name)) => out.push_str(name),
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/api/v1/namespaces/a/pods/p:80/proxy";
    const LINKS: Links<'static> = Links { root: ROOT, backend: "10.0.0.7:80", asked: "api:6443" };

    #[test]
    fn links_to_the_pod_lead_through_the_proxy_and_others_stay() {
        for (link, wanted) in [
            ("/x", format!("{ROOT}/x")),
            ("/x/?q=/y#z", format!("{ROOT}/x/?q=/y#z")),
            ("/", format!("{ROOT}/")),
            ("//10.0.0.7:80/x", format!("{ROOT}/x")),
            ("http://10.0.0.7:80/a/../x", format!("{ROOT}/x")),
            ("https://api:6443/x", format!("https://api:6443{ROOT}/x")),
        ] {
            assert_eq!(LINKS.mended(link), wanted, "{link}");
        }
        let through = format!("{ROOT}/x");
        for link in
            ["x", "../x", "#a", "", "?q=1", "http://elsewhere/x", "mailto:a@b", through.as_str()]
        {
            assert_eq!(LINKS.mended(link), link);
        }
    }

    #[test]
    fn links_in_pages_are_mended_and_the_rest_is_left_alone() {
        let page = "<!DOCTYPE html><!-- <a href=\"/no\"> --><A class=x HREF = '/a&amp;b'>/a</A>\
            <img src=/i alt=\"<a href='/no'>\"/><script src=\"/s\">\"<a href='/no'>\"</script><p href=\"/no\">1 < 2 é\
            <a href=\"rel\"><form action=\"/f\"";
        let wanted = format!(
            "<!DOCTYPE html><!-- <a href=\"/no\"> --><A class=x HREF = \"{ROOT}/a&amp;b\">/a</A>\
            <img src=\"{ROOT}/i\" alt=\"<a href='/no'>\"/><script src=\"{ROOT}/s\">\"<a href='/no'>\"</script><p href=\"/no\">1 < 2 é\
            <a href=\"rel\"><form action=\"{ROOT}/f\""
        );
        assert_eq!(mended(page, &LINKS, 4096), Some(wanted));
    }

    #[test]
    fn broken_pages_pass() {
        for page in [
            "<",
            "<a",
            "<a href",
            "<a href=",
            "<a href=\"",
            "<a href='/x",
            "<script>",
            "<!--",
            "<a =é=é",
            "é<é",
        ] {
            assert!(mended(page, &LINKS, 4096).is_some());
        }
        let deep = "<a href='/'".repeat(1000);
        assert!(mended(&deep, &LINKS, 1 << 20).is_some_and(|page| page.len() > deep.len()));
        assert_eq!(mended(&deep, &LINKS, deep.len()), None, "a page does not grow without end");
        assert_eq!(
            clean("/api/v1/namespaces/n/pods/p////proxy"),
            "/api/v1/namespaces/n/pods/p/proxy"
        );
    }
}
