//! Any cut of the bytes gives the same frames, in both directions; hostile bytes cost bounded memory.

use bytes::Bytes;
use proptest::prelude::*;
use wire::spdy::{self, Frame};
use wire::websocket::{self, Message, Role};

/// What a peer sends.
#[derive(Clone, Debug)]
enum Sent {
    Begin(u32, bool, Vec<(String, String)>),
    Taken(u32, Vec<(String, String)>),
    Data(u32, bool, Vec<u8>),
    Ping(u32),
    Reset(u32, u32),
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a-z-]{1,12}", "\\PC{0,40}"), 0..6)
}

fn sent() -> impl Strategy<Value = Sent> {
    let stream = 1_u32..=spdy::STREAM_MAX;
    prop_oneof![
        (stream.clone(), any::<bool>(), headers()).prop_map(|(s, f, h)| Sent::Begin(s, f, h)),
        (stream.clone(), headers()).prop_map(|(s, h)| Sent::Taken(s, h)),
        (stream.clone(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(s, f, b)| Sent::Data(s, f, b)),
        any::<u32>().prop_map(Sent::Ping),
        (stream, any::<u32>()).prop_map(|(s, why)| Sent::Reset(s, why)),
    ]
}

fn encoded(all: &[Sent]) -> Vec<u8> {
    let mut encoder = spdy::Encoder::default();
    let frames = all.iter().map(|one| match one {
        Sent::Begin(stream, fin, headers) => {
            encoder.syn_stream(*stream, *fin, headers).expect("small")
        }
        Sent::Taken(stream, headers) => encoder.syn_reply(*stream, false, headers).expect("small"),
        Sent::Data(stream, fin, bytes) => spdy::data(*stream, *fin, bytes),
        Sent::Ping(id) => spdy::ping(*id),
        Sent::Reset(stream, why) => spdy::reset(*stream, *why),
    });
    frames.collect::<Vec<_>>().concat()
}

fn expected(all: Vec<Sent>) -> Vec<Frame> {
    let frames = all.into_iter().map(|one| match one {
        Sent::Begin(stream, fin, headers) => {
            Frame::SynStream { stream, fin, unidirectional: false, headers }
        }
        Sent::Taken(stream, headers) => Frame::SynReply { stream, fin: false, headers },
        Sent::Data(stream, fin, bytes) => Frame::Data { stream, fin, bytes: bytes.into() },
        Sent::Ping(id) => Frame::Ping(id),
        Sent::Reset(stream, status) => Frame::Reset { stream, status },
    });
    joined(frames.collect())
}

/// Pieces of the data of one stream that follow each other, as one.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    for frame in frames {
        if let (
            Frame::Data { stream, fin, bytes },
            Some(Frame::Data { stream: before, fin: ended, bytes: held }),
        ) = (&frame, out.last_mut())
            && stream == before
            && !*ended
        {
            *held = [&held[..], bytes].concat().into();
            *ended = *fin;
            continue;
        }
        out.push(frame);
    }
    out
}

/// Lengths of reads until the bytes are used up.
fn cuts(bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*lengths.next().expect("a cycle")));
        out.push(now.to_vec());
        rest = later;
    }
    out
}

fn messages() -> impl Strategy<Value = Message> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
    prop_oneof![
        bytes(300).prop_map(Message::Binary),
        bytes(70_000).prop_map(Message::Binary),
        bytes(50).prop_map(Message::Text),
        bytes(125).prop_map(Message::Ping),
        bytes(125).prop_map(Message::Pong),
        any::<Option<u16>>().prop_map(Message::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spdy_frames_survive_any_cut(
        all in prop::collection::vec(sent(), 0..12),
        lengths in prop::collection::vec(1_usize..60, 1..8),
    ) {
        let bytes = encoded(&all);
        let mut decoder = spdy::Decoder::default();
        let mut found = Vec::new();
        for piece in cuts(&bytes, &lengths) {
            decoder.feed(&piece);
            while let Some(frame) = decoder.next().unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(joined(found), expected(all));
    }

    #[test]
    fn spdy_takes_any_bytes_without_panic_and_stays_broken(
        good in prop::collection::vec(sent(), 0..3),
        bad in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut decoder = spdy::Decoder::default();
        decoder.feed(&encoded(&good));
        decoder.feed(&bad);
        for _ in 0..1000 {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    decoder.feed(&spdy::ping(1));
                    prop_assert_eq!(decoder.next(), Err(error));
                    break;
                }
            }
        }
    }

    #[test]
    fn websocket_messages_survive_any_cut_in_both_directions(
        all in prop::collection::vec(messages(), 0..8),
        lengths in prop::collection::vec(1_usize..9_000, 1..6),
        mask in any::<[u8; 4]>(),
        to_server in any::<bool>(),
    ) {
        let (role, mask) = if to_server { (Role::Server, Some(mask)) } else { (Role::Client, None) };
        let bytes: Vec<u8> = all.iter().flat_map(|one| websocket::encode(one, mask)).collect();
        let mut decoder = websocket::Decoder::new(role);
        let mut found = Vec::new();
        for piece in cuts(&bytes, &lengths) {
            decoder.feed(&piece);
            while let Some(message) = decoder.next().unwrap() {
                found.push(message);
            }
        }
        prop_assert_eq!(found, all);
    }

    #[test]
    fn websocket_takes_any_bytes_without_panic(bad in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = websocket::Decoder::new(Role::Server);
        decoder.feed(&bad);
        while let Ok(Some(_)) = decoder.next() {}
    }
}

#[test]
fn a_long_frame_of_data_is_given_piece_by_piece() {
    let mut decoder = spdy::Decoder::default();
    let frame = spdy::data(3, true, &vec![7; 1 << 20]);
    let mut bytes = 0;
    for piece in frame.chunks(1000) {
        decoder.feed(piece);
        while let Some(Frame::Data { stream: 3, fin, bytes: given }) = decoder.next().unwrap() {
            bytes += given.len();
            assert_eq!(fin, bytes == 1 << 20);
            assert!(given.len() <= 1000, "more is held than was read");
        }
    }
    assert_eq!(bytes, 1 << 20);
}

#[test]
fn hostile_frames_are_refused_before_they_cost_memory() {
    let refused = |bytes: &[u8]| {
        let mut decoder = spdy::Decoder::default();
        decoder.feed(bytes);
        decoder.next().unwrap_err()
    };
    assert_eq!(refused(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]), spdy::Error::TooLong(0xff_ffff));
    assert_eq!(refused(&[0x80, 2, 0, 1, 0, 0, 0, 0]), spdy::Error::Version(2));
    assert_eq!(refused(&[0x80, 3, 0, 1, 0, 0, 0, 0]), spdy::Error::TooShort(1));
    assert_eq!(refused(&[0, 0, 0, 0, 0, 0, 0, 0]), spdy::Error::NoStream);
    // a block that unpacks to far more than it is
    let huge = vec![("a".to_owned(), "x".repeat(60_000))];
    let mut encoder = spdy::Encoder::default();
    let mut frame = encoder.syn_stream(1, false, &huge).unwrap();
    assert!(frame.len() < 1000);
    let twice = vec![("a".to_owned(), "x".repeat(80_000))];
    assert!(encoder.syn_stream(3, false, &twice).is_err());
    // the same block once more under one head: the unpacked bytes pass the limit
    let again = encoder.syn_stream(3, false, &huge).unwrap();
    frame.extend_from_slice(&again[18..]);
    let length = u8::try_from((frame.len() - 8) >> 8).unwrap();
    frame[6] = length;
    frame[7] = u8::try_from((frame.len() - 8) & 0xff).unwrap();
    assert_eq!(refused(&frame), spdy::Error::Headers("too large"));
}

#[test]
fn hostile_messages_are_refused_before_they_cost_memory() {
    let refused = |bytes: &[u8]| {
        let mut decoder = websocket::Decoder::new(Role::Server);
        decoder.feed(bytes);
        decoder.next().unwrap_err()
    };
    let long = [0x82, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0];
    assert_eq!(refused(&long), websocket::Error::TooBig);
    // parts that add up
    let part = |first: u8| {
        let mut bytes = websocket::encode(&Message::Binary(vec![0; 600_000].into()), Some([0; 4]));
        bytes[0] = first;
        bytes
    };
    assert_eq!(refused(&[part(0x02), part(0x00)].concat()), websocket::Error::TooBig);
    for broken in [
        &[0x82, 0x00][..],
        &[0xc2, 0x80],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x80, 0x80, 0, 0, 0, 0],
        &[0x09, 0x80],
    ] {
        assert!(matches!(refused(broken), websocket::Error::Protocol(_)), "{broken:?}");
    }
}
