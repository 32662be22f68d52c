//! Input in pieces: where it is cut never matters.

use codec::h1::{Reader, State};
use codec::{Event, Flow, Scratch};

use crate::script::*;

#[test]
fn where_the_input_is_cut_never_matters() {
    let whole = requests(CONVERSATION);
    assert_eq!((whole.heads.len(), whole.ends, whole.error), (5, 5, None));
    assert_eq!(whole.body, b"helloabc0123456789");
    for cut in 0..=CONVERSATION.len() {
        let (a, b) = CONVERSATION.split_at(cut);
        assert_eq!(read(Reader::requests(), &[a, b], true), whole, "{cut}");
    }
    let bytes: Vec<&[u8]> = CONVERSATION.chunks(1).collect();
    assert_eq!(read(Reader::requests(), &bytes, true), whole);
    let bytes: Vec<&[u8]> = CONVERSATION.chunks(7).collect();
    assert_eq!(read(Reader::requests(), &bytes, true), whole);
}

#[test]
fn bytes_that_were_not_taken_come_again() {
    let mut reader = Reader::requests();
    let mut scratch = Scratch::default();
    let mut buffer = CONVERSATION.to_vec();
    let mut log = Log::default();
    let mut taken = 1;
    loop {
        let (used, event) = reader.next(&buffer, &mut scratch).unwrap();
        let mut back = 0;
        match event {
            None => break,
            Some(Event::Data { stream, bytes, end }) if !bytes.is_empty() => {
                // Take one byte, then none, then two, …
                taken = (taken + 2) % 3;
                let take = bytes.len().min(taken);
                back = bytes.len() - take;
                log.note(&Event::Data { stream, bytes: &bytes[..take], end: end && back == 0 });
            }
            Some(event) => log.note(&event),
        }
        reader.unread(back);
        buffer.drain(..used - back);
        if reader.state() == State::Done {
            reader.proceed();
        }
    }
    assert_eq!(log, requests(CONVERSATION));
}

#[test]
fn bytes_that_were_not_taken_come_again_while_more_are_missing() {
    let mut reader = Reader::requests();
    let mut scratch = Scratch::default();
    let head = with("Host: a\r\nContent-Length: 6\r\n");
    reader.next(head.as_bytes(), &mut scratch).unwrap();
    assert_eq!(reader.next(b"abcd", &mut scratch).unwrap().0, 4);
    reader.unread(3);
    assert_eq!(reader.next(b"bcdef", &mut scratch).unwrap().0, 5);
    reader.unread(0);
    assert_eq!(reader.state(), State::Done);
    reader.unread(2);
    let (used, event) = reader.next(b"efGET", &mut scratch).unwrap();
    assert!(used == 2 && matches!(event, Some(Event::Data { bytes: b"ef", end: true, .. })));
    assert_eq!(reader.state(), State::Done);
}

#[test]
fn a_sink_hears_the_same_and_may_pause() {
    let mut scratch = Scratch::default();
    let input = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET";
    let mut log = Log::default();
    let mut reader = Reader::requests();
    let mut sink = |event: Event<'_>| {
        log.note(&event);
        Flow::Continue
    };
    assert_eq!(reader.receive(input, &mut scratch, &mut sink), Ok(input.len() - 3));
    assert_eq!((log.heads.len(), log.body.as_slice(), log.ends), (1, &b"hello"[..], 1));
    let mut reader = Reader::requests();
    let mut pause = |_: Event<'_>| Flow::Pause;
    assert_eq!(reader.receive(input, &mut scratch, &mut pause), Ok(input.len() - 8));
    assert_eq!(reader.receive(&input[input.len() - 8..], &mut scratch, &mut pause), Ok(5));
}
