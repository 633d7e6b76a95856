//! Why a text is no YAML, in the words of Go's parser (which are libyaml's) and with its line numbers.

use granit_parser::{ErrorKind, ScanError};

/// Who found the fault: they count lines differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finder {
    Scanner,
    Parser,
}

/// What Go says. Faults of its scanner name the line they are on, but not the first; faults of its parser the line
/// before, since they forget to count from one.
pub(super) fn words(error: &ScanError, text: &str) -> String {
    use ErrorKind as Kind;
    let line = error.marker().line();
    let breaks = text.matches('\n').count();
    let end = if text.ends_with('\n') { breaks + 1 } else { breaks + 2 };
    let (words, finder, line) = match error.kind() {
        Kind::UnclosedFlowCollection { open: '[' } | Kind::UnexpectedEofFlowSequence => {
            (SEQUENCE, Finder::Parser, end)
        }
        Kind::UnclosedFlowCollection { .. }
        | Kind::UnexpectedEofFlowMapping
        | Kind::UnexpectedEofImplicitFlowMapping => (MAPPING, Finder::Parser, end),
        Kind::UnclosedQuotedScalar => {
            ("found unexpected end of stream", Finder::Scanner, breaks + 1)
        }
        // Found out on the next line.
        Kind::SimpleKeyExpected => ("could not find expected ':'", Finder::Scanner, line + 1),
        Kind::RecursionLimitExceeded => return "exceeded max depth".to_owned(),
        Kind::UnknownAnchor => return unknown_anchor(error, text),
        kind => match usual(kind) {
            Some((words, finder)) => (words, finder, line),
            None => return error.info(),
        },
    };
    match finder {
        Finder::Scanner if line > 1 => format!("line {line}: {words}"),
        Finder::Parser if line > 1 => format!("line {}: {words}", line - 1),
        _ => words.to_owned(),
    }
}

const SEQUENCE: &str = "did not find expected ',' or ']'";
const MAPPING: &str = "did not find expected ',' or '}'";

fn usual(kind: &ErrorKind) -> Option<(&'static str, Finder)> {
    use ErrorKind as Kind;
    use Finder::{Parser, Scanner};
    Some(match kind {
        Kind::MappingValueNotAllowed => ("mapping values are not allowed in this context", Scanner),
        Kind::MismatchedFlowCollectionEnd { open: '[', .. }
        | Kind::InvalidColonPlacement
        | Kind::ExpectedFlowSequenceSeparator => (SEQUENCE, Parser),
        Kind::MismatchedFlowCollectionEnd { .. } | Kind::ExpectedFlowMappingSeparator => {
            (MAPPING, Parser)
        }
        Kind::ExpectedBlockMappingKey
        | Kind::UnexpectedEofBlockMapping
        | Kind::MisplacedFlowCollectionEnd => ("did not find expected key", Parser),
        Kind::ExpectedBlockSequenceEntry | Kind::UnexpectedEofBlockSequence => {
            ("did not find expected '-' indicator", Parser)
        }
        Kind::UnknownQuotedScalarEscape => ("found unknown escape character", Scanner),
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::UnexpectedCharacter { .. } => {
            ("found character that cannot start any token", Scanner)
        }
        Kind::InvalidBlockScalarHeader => ("did not find expected comment or line break", Scanner),
        Kind::BlockSequenceEntryNotAllowed | Kind::BlockEntryInFlowCollection => {
            ("block sequence entries are not allowed in this context", Scanner)
        }
        Kind::ExpectedDocumentStart => ("did not find expected <document start>", Parser),
        Kind::ExpectedNodeContent => ("did not find expected node content", Parser),
        Kind::MissingAnchorOrAliasName => {
            ("did not find expected alphabetic or numeric character", Scanner)
        }
        _ => return None,
    })
}

fn unknown_anchor(error: &ScanError, text: &str) -> String {
    let name: String = text
        .chars()
        .skip(error.marker().index())
        .skip_while(|c| *c == '*')
        .take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    format!("unknown anchor '{name}' referenced")
}
