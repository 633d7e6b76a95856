//! YAML as Kubernetes reads it, which is YAML 1.1: `y` and `off` are booleans, `017` is fifteen, keys that look
//! like booleans or numbers become texts. Events come from a parser; what they mean is decided here.

mod fault;
mod scalar;

use super::node::{Node, Read};
use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Nodes that aliases may repeat: enough for any honest use, and small against the 3 MiB a body may have.
const REPEATED_NODES_MAX: usize = 10_000;

/// Deepest nesting; JSON bodies may be 128 deep as well.
const DEPTH_MAX: usize = 128;

/// Most keys set twice that are told: more would not fit the headers that clients take.
const FAULTS_MAX: usize = 100;

/// Reads the first document of a text; no document at all is null.
///
/// # Errors
/// Why it is no YAML, in the words of Go's parser, without its `yaml: `.
pub(super) fn read(body: &[u8]) -> Result<Read, String> {
    let text = std::str::from_utf8(body).map_err(|_| "invalid leading UTF-8 octet".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.chars().any(is_forbidden) {
        return Err("control characters are not allowed".to_owned());
    }
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        text,
        anchors: BTreeMap::new(),
        repeated: 0,
        faults: Vec::new(),
    };
    let node = reader.document()?;
    Ok(Read { node: node.sorted(), faults: reader.faults })
}

/// Characters that no YAML stream may hold.
fn is_forbidden(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    text: &'a str,
    /// What an alias stands for, with its number of nodes.
    anchors: BTreeMap<usize, (Node, usize)>,
    repeated: usize,
    faults: Vec<String>,
}

/// A node, and how many nodes it is made of.
type Counted = (Node, usize);

/// A mapping under way.
#[derive(Default)]
struct Mapping {
    fields: Vec<(String, Node)>,
    /// Keys that came by `<<`: they give way to keys written out.
    merged: Vec<(String, Node)>,
    size: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        loop {
            match self.events.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Err(error)) => return Err(fault::words(&error, self.text)),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(found)) => return Ok(found),
            }
        }
    }

    fn document(&mut self) -> Result<Node, String> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(Node::Null),
                (event, _) => {
                    let node = self.node(event, 0)?.0;
                    // What follows on the same document must be sound as well.
                    self.next()?;
                    return Ok(node);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Counted, String> {
        if depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        let (anchor, counted) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, (scalar::value(&text, is_plain(style, tag.as_ref()))?, 1))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(depth)?),
            Event::Alias(anchor) => {
                let found = self.anchors.get(&anchor).cloned();
                let (node, size) = found.ok_or_else(|| "anchor contains itself".to_owned())?;
                self.repeated += size;
                if self.repeated > REPEATED_NODES_MAX {
                    return Err("document contains excessive aliasing".to_owned());
                }
                (0, (node, size))
            }
            _ => return Err("did not find expected node content".to_owned()),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, counted.clone());
        }
        Ok(counted)
    }

    fn list(&mut self, depth: usize) -> Result<Counted, String> {
        let (mut items, mut size) = (Vec::new(), 1);
        loop {
            match self.next()?.0 {
                Event::SequenceEnd => return Ok((Node::List(items), size)),
                event => {
                    let (item, nodes) = self.node(event, depth + 1)?;
                    items.push(item);
                    size += nodes;
                }
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Counted, String> {
        let mut mapping = Mapping { size: 1, ..Mapping::default() };
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            self.entry(&mut mapping, event, span.start.line(), depth)?;
        }
        let Mapping { mut fields, merged, size } = mapping;
        for (key, value) in merged {
            if !fields.iter().any(|(known, _)| *known == key) {
                fields.push((key, value));
            }
        }
        Ok((Node::Object(fields), size))
    }

    fn entry(
        &mut self,
        mapping: &mut Mapping,
        key: Event<'a>,
        line: usize,
        depth: usize,
    ) -> Result<(), String> {
        let merges = matches!(
            &key, Event::Scalar(text, style, _, tag) if text == "<<" && is_plain(*style, tag.as_ref())
        );
        let key = self.node(key, depth + 1)?.0;
        let event = self.next()?.0;
        let (value, nodes) = self.node(event, depth + 1)?;
        mapping.size += nodes + 1;
        if merges {
            return merge(value, &mut mapping.merged);
        }
        let shown = scalar::shown(&key);
        let key = scalar::key(key)?;
        match mapping.fields.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => {
                if self.faults.len() < FAULTS_MAX {
                    self.faults.push(format!("line {line}: key {shown} already set in map"));
                }
                *known = value;
            }
            None => mapping.fields.push((key, value)),
        }
        Ok(())
    }
}

/// Whether a scalar's meaning is told by its looks.
fn is_plain(style: ScalarStyle, tag: Option<&Cow<'_, Tag>>) -> bool {
    let text = tag.is_some_and(|tag| matches!(tag.suffix(), "str" | "binary" | ""));
    style == ScalarStyle::Plain && !text
}

/// `<<: *base` and `<<: [*a, *b]`.
fn merge(value: Node, into: &mut Vec<(String, Node)>) -> Result<(), String> {
    match value {
        Node::Object(fields) => {
            for (key, value) in fields {
                if !into.iter().any(|(known, _)| *known == key) {
                    into.push((key, value));
                }
            }
            Ok(())
        }
        Node::List(items) if items.iter().all(|item| matches!(item, Node::Object(_))) => {
            items.into_iter().try_for_each(|item| merge(item, into))
        }
        _ => Err("map merge requires map or sequence of maps as the value".to_owned()),
    }
}

#[cfg(test)]
mod tests;
