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

/// Nodes that are kept for aliases to repeat; where anchors are nested, a node is kept once for each.
const ANCHORED_NODES_MAX: usize = 100_000;

/// Bytes of a text that weigh as much as one more node.
const NODE_BYTES: usize = 256;

/// Deepest nesting; JSON bodies may be 128 deep as well.
const DEPTH_MAX: usize = 128;

/// Most keys set twice that are told: more would not fit the headers that clients take.
const FAULTS_MAX: usize = 100;

/// The refusal of a document that aliases would blow up.
const EXCESSIVE: &str = "document contains excessive aliasing";

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
    let mut reader = reader(text);
    let node = reader.document()?;
    Ok(Read { node: node.sorted(), faults: reader.faults })
}

fn reader(text: &str) -> Reader<'_> {
    Reader {
        events: Parser::new_from_str(text),
        text,
        anchors: BTreeMap::new(),
        repeated: 0,
        anchored: 0,
        faults: Vec::new(),
    }
}

/// Characters that no YAML stream may hold.
fn is_forbidden(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    text: &'a str,
    /// What an alias stands for, with its number of nodes; nothing if it is more than may be repeated.
    anchors: BTreeMap<usize, Option<Counted>>,
    repeated: usize,
    /// Nodes that `anchors` holds.
    anchored: usize,
    faults: Vec<String>,
}

/// A node, and how many nodes it is made of; long texts count for more than one.
type Counted = (Node, usize);

/// A mapping under way.
#[derive(Default)]
struct Mapping {
    fields: Fields,
    /// Keys that came by `<<`: they give way to keys written out.
    merged: Fields,
    size: usize,
}

/// Fields in the order written, no name twice.
#[derive(Default)]
struct Fields {
    list: Vec<(String, Node)>,
    /// Where in the list each name is.
    places: BTreeMap<String, usize>,
}

impl Fields {
    /// Adds a field unless the name is there.
    fn add(&mut self, key: String, value: Node) {
        if !self.places.contains_key(&key) {
            self.places.insert(key.clone(), self.list.len());
            self.list.push((key, value));
        }
    }

    /// The value of a name.
    fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let place = *self.places.get(key)?;
        self.list.get_mut(place).map(|(_, value)| value)
    }
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
                let size = 1 + text.len() / NODE_BYTES;
                (anchor, (scalar::value(&text, is_plain(style, tag.as_ref()))?, size))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(depth)?),
            Event::Alias(anchor) => (0, self.repeat(anchor)?),
            _ => return Err("did not find expected node content".to_owned()),
        };
        if anchor != 0 {
            self.keep(anchor, &counted)?;
        }
        Ok(counted)
    }

    /// What an alias stands for.
    fn repeat(&mut self, anchor: usize) -> Result<Counted, String> {
        let found = self.anchors.get(&anchor).ok_or_else(|| "anchor contains itself".to_owned())?;
        let affordable =
            found.as_ref().filter(|(_, size)| self.repeated + size <= REPEATED_NODES_MAX);
        let (node, size) = affordable.ok_or_else(|| EXCESSIVE.to_owned())?;
        self.repeated += size;
        Ok((node.clone(), *size))
    }

    /// Keeps a node for its aliases, unless it is more than they may repeat anyway.
    fn keep(&mut self, anchor: usize, counted: &Counted) -> Result<(), String> {
        let kept = Some(counted).filter(|(_, size)| self.repeated + size <= REPEATED_NODES_MAX);
        self.anchored += kept.map_or(0, |(_, size)| *size);
        if self.anchored > ANCHORED_NODES_MAX {
            return Err(EXCESSIVE.to_owned());
        }
        self.anchors.insert(anchor, kept.cloned());
        Ok(())
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
        for (key, value) in merged.list {
            fields.add(key, value);
        }
        Ok((Node::Object(fields.list), size))
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
        let (key, key_nodes) = self.node(key, depth + 1)?;
        let event = self.next()?.0;
        let (value, nodes) = self.node(event, depth + 1)?;
        mapping.size += nodes + key_nodes;
        if merges {
            return merge(value, &mut mapping.merged);
        }
        let shown = scalar::shown(&key);
        let key = scalar::key(key)?;
        match mapping.fields.get_mut(&key) {
            Some(known) => {
                if self.faults.len() < FAULTS_MAX {
                    self.faults.push(format!("line {line}: key {shown} already set in map"));
                }
                *known = value;
            }
            None => mapping.fields.add(key, value),
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
fn merge(value: Node, into: &mut Fields) -> Result<(), String> {
    match value {
        Node::Object(fields) => {
            for (key, value) in fields {
                into.add(key, value);
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
