//! Connections that end in order (RFC 9113 6.8).

use codec::h2::{Config, Reason, Refused};

use crate::script::*;

#[test]
fn a_server_that_leaves_finishes_what_it_has() {
    let mut s = Fed::server();
    s.feed(&headers(1, true, &GET));
    s.connection.goaway(Reason::NO_ERROR);
    assert_eq!(s.written()[0].3[..4], [0x7f, 0xff, 0xff, 0xff]);
    s.feed(&headers(3, true, &GET));
    s.connection.goaway(Reason::NO_ERROR);
    assert_eq!(s.written()[0].3[..4], [0, 0, 0, 3]);
    s.feed(&headers(5, true, &GET));
    assert_eq!((s.only_reset(), s.requests), ((5, Reason::REFUSED_STREAM), 2));
    assert!(!s.connection.is_finished());
    for id in [1, 3] {
        assert!(s.connection.send_response(id, &ok(), &[], true));
    }
    assert!(s.connection.is_finished());
}

#[test]
fn a_client_hears_which_streams_a_leaving_server_will_not_process() {
    let mut c = Fed::client(4);
    c.feed(&frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    c.events.sort();
    assert_eq!(
        c.events,
        ["5 reset REFUSED_STREAM remote=true", "7 reset REFUSED_STREAM remote=true", "goaway 3 NO_ERROR"]
    );
    assert_eq!(c.connection.can_open(), Err(Refused::Leaving));
    c.feed(&[headers(1, true, &[(":status", "200")]), headers(3, true, &[(":status", "200")])].concat());
    assert!(c.connection.is_finished() && c.error.is_none());
}

#[test]
fn a_goaway_ends_thousands_of_streams() {
    let mut c = Fed::new(Config::mesh_client());
    c.feed(&frame(4, 0, 0, &[0, 3, 0, 0, 0xff, 0xff]));
    for token in 0..20_000 {
        c.connection.send_request(token, &get(), &[], true).unwrap();
    }
    c.connection.out.clear();
    c.feed(&frame(7, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0]));
    assert_eq!((c.events.len(), c.connection.streams()), (19_995 + 2, 5));
}
