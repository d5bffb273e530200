//! What a peer may not say, and odd things that it may.

use rustls::{AlertDescription, ContentType, Error, InvalidMessage, PeerMisbehaved};

use super::forger::Forger;
use super::{End, SUITES, configs, name};
use crate::tls::Session;
use crate::tls::record::{MAX_BODY, MAX_PLAINTEXT};

const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// Each fault on a connection of its own, behind a record that is good: that one is delivered.
#[track_caller]
fn check(is_client: bool, forge: impl FnOnce(&mut Forger), error: impl Into<Error>, alert: AlertDescription) {
    let mut forger = Forger::new(is_client);
    forge(forger.data(b"good"));
    assert_eq!(forger.fault(), (error.into(), Some(alert)));
    assert_eq!(forger.ours.take_plain(), b"good");
}

#[track_caller]
fn check_kind(forge: impl FnOnce(&mut Forger), is_client: bool, is_message: bool) {
    let mut forger = Forger::new(is_client);
    forge(forger.data(b"good"));
    let (error, alert) = forger.fault();
    assert_eq!(alert, Some(AlertDescription::UnexpectedMessage), "{error}");
    match error {
        Error::InappropriateMessage { .. } => assert!(!is_message),
        Error::InappropriateHandshakeMessage { .. } => assert!(is_message),
        other => panic!("{other}"),
    }
    assert_eq!(forger.ours.take_plain(), b"good");
}

#[test]
fn records_that_are_none() {
    let too_long = u16::try_from(MAX_BODY + 1).unwrap().to_be_bytes();
    let header = [23, 3, 3, too_long[0], too_long[1]];
    check(
        false,
        |forger| forger.wire.extend(header),
        Error::PeerSentOversizedRecord,
        AlertDescription::RecordOverflow,
    );
    let (short, none) = ([23, 3, 3, 0, 3, 1, 2, 3], [23, 3, 3, 0, 0]);
    for forged in [&short[..], &none] {
        let bad = AlertDescription::BadRecordMac;
        check(false, |forger| forger.wire.extend(forged), Error::DecryptError, bad);
    }
    let decode = AlertDescription::DecodeError;
    check(false, |forger| forger.wire.extend([99, 3, 3, 0, 0]), InvalidMessage::InvalidContentType, decode);
    check(
        true,
        |forger| forger.wire.extend([23, 2, 3, 0, 0]),
        InvalidMessage::UnknownProtocolVersion,
        decode,
    );
    for kind in [20, 21, 22, 24] {
        check_kind(|forger| forger.wire.extend([kind, 3, 3, 0, 1, 1]), true, false);
    }
}

#[test]
fn contents_that_are_none() {
    let unexpected = AlertDescription::UnexpectedMessage;
    for zeros in [1, 17, MAX_PLAINTEXT + 1] {
        check(
            true,
            |forger| _ = forger.seal_inner(&vec![0; zeros]),
            PeerMisbehaved::IllegalTlsInnerPlaintext,
            unexpected,
        );
    }
    check(
        false,
        |forger| _ = forger.seal(ContentType::ChangeCipherSpec, &[1]),
        PeerMisbehaved::IllegalMiddleboxChangeCipherSpec,
        unexpected,
    );
    for kind in [ContentType::Heartbeat, ContentType::Unknown(99)] {
        check_kind(|forger| _ = forger.seal(kind, b"what?"), false, false);
    }
    for kind in [ContentType::Handshake, ContentType::Alert] {
        check(true, |forger| _ = forger.seal(kind, b""), InvalidMessage::InvalidEmptyPayload, unexpected);
    }
    check(
        true,
        |forger| (0..33).for_each(|_| _ = forger.data(b"")),
        PeerMisbehaved::TooManyEmptyFragments,
        unexpected,
    );
}

#[test]
fn alerts() {
    let alert = ContentType::Alert;
    for forged in [&[2][..], &[1, 0, 0]] {
        let mut forger = Forger::new(true);
        let (error, told) = forger.seal(alert, forged).fault();
        assert!(matches!(error, Error::InvalidMessage(_)), "{error}");
        assert_eq!(told, Some(AlertDescription::DecodeError));
    }
    // RFC 8446 section 6: all that is not known is an error too, and levels mean nothing.
    for (level, kind) in [(2, 20), (1, 48), (7, 80), (2, 222)] {
        let mut forger = Forger::new(false);
        let told = forger.data(b"good").seal(alert, &[level, kind]).fault();
        assert_eq!(told, (Error::AlertReceived(kind.into()), None));
        assert_eq!(forger.ours.take_plain(), b"good");
    }
    let canceled = [1, AlertDescription::UserCanceled.into()];
    let mut forger = Forger::new(false);
    (0..4).for_each(|_| _ = forger.seal(alert, &canceled));
    assert_eq!(forger.data(b"goes on").deliver().unwrap(), b"goes on");
    let (error, told) = forger.seal(alert, &canceled).fault();
    assert_eq!(error, PeerMisbehaved::TooManyWarningAlertsReceived.into());
    assert_eq!(told, Some(AlertDescription::UnexpectedMessage));
    // A closure ends it all, and what follows is nothing.
    let mut forger = Forger::new(false);
    forger.data(b"last").seal(alert, &[1, 0]).data(b"late").wire.extend([99; 99]);
    assert_eq!(forger.deliver().unwrap(), b"last");
    assert_eq!(forger.data(b"later").deliver().unwrap(), b"");
    assert!(forger.ours.session.is_peer_closed());
}

#[test]
fn messages() {
    let (illegal, decode) = (AlertDescription::IllegalParameter, AlertDescription::DecodeError);
    let unexpected = AlertDescription::UnexpectedMessage;
    let invalid = InvalidMessage::InvalidKeyUpdate;
    check(true, |forger| _ = forger.messages(&[24, 0, 0, 1, 2]), invalid, illegal);
    check(true, |forger| _ = forger.messages(&[24, 0, 0, 2, 0, 0]), invalid, decode);
    let too_large = InvalidMessage::HandshakePayloadTooLarge;
    check(true, |forger| _ = forger.messages(&[4, 1, 0, 0]), too_large, decode);
    let pending = PeerMisbehaved::KeyEpochWithPendingFragment;
    let followed = [&KEY_UPDATE[..], &[24]].concat();
    check(false, |forger| _ = forger.messages(&followed), pending, unexpected);
    for is_client in [true, false] {
        for kind in [1, 2, 8, 11, 13, 20, 77] {
            check_kind(|forger| _ = forger.messages(&[kind, 0, 0, 0]), is_client, true);
        }
    }
    // A ticket is for clients, and has to be one.
    check_kind(|forger| _ = forger.messages(&[4, 0, 0, 0]), false, true);
    let mut forger = Forger::new(true);
    let (error, alert) = forger.messages(&[4, 0, 0, 2, 0, 0]).fault();
    assert!(matches!(error, Error::InvalidMessage(_)), "{error}");
    assert_eq!(alert, Some(decode));
}

#[test]
fn nothing_comes_between_the_pieces_of_a_message() {
    let (between, alert) =
        (PeerMisbehaved::MessageInterleavedWithHandshakeMessage, AlertDescription::UnexpectedMessage);
    let piece = &KEY_UPDATE[..2];
    check(false, |forger| _ = forger.messages(piece).data(b"between"), between.clone(), alert);
    check(false, |forger| _ = forger.messages(piece).data(b""), between.clone(), alert);
    check(true, |forger| _ = forger.messages(piece).seal(ContentType::Alert, &[1, 0]), between, alert);
}

#[test]
fn key_updates_may_be_cut_and_repeated_but_not_for_ever() {
    let mut forger = Forger::new(true);
    for update in [KEY_UPDATE, KEY_UPDATE_REQUESTED] {
        for cut in 0..update.len() {
            let (first, last) = update.split_at(cut);
            let pieces: &[&[u8]] = if cut == 0 { &[last] } else { &[first, last] };
            let got = forger.data(b"old").update_keys(pieces).data(b"new").deliver().unwrap();
            assert_eq!(got, b"oldnew");
            // Only who was asked takes new keys, and says so with the old ones.
            assert_eq!(forger.answer(), (b"answer".to_vec(), usize::from(update == KEY_UPDATE_REQUESTED)));
        }
    }
    (0..32).for_each(|_| _ = forger.update_keys(&[&KEY_UPDATE_REQUESTED]));
    assert_eq!(forger.data(b"still").deliver().unwrap(), b"still");
    assert_eq!(forger.answer(), (b"answer".to_vec(), 1));
    (0..33).for_each(|_| _ = forger.update_keys(&[&KEY_UPDATE]));
    let (error, alert) = forger.fault();
    assert_eq!(error, PeerMisbehaved::TooManyKeyUpdateRequests.into());
    assert_eq!(alert, Some(AlertDescription::UnexpectedMessage));
}

/// Who asks again and again, with data between, and reads nothing, must not make answers pile up.
#[test]
fn many_requests_for_new_keys_have_one_answer() {
    let mut forger = Forger::new(false);
    for _ in 0..100 {
        let update: &[&[u8]] = &[&KEY_UPDATE_REQUESTED];
        assert_eq!(forger.data(b"data").update_keys(update).deliver().unwrap(), b"data");
        assert!(forger.ours.out.is_empty());
    }
    assert_eq!(forger.answer(), (b"answer".to_vec(), 1));
    assert_eq!(forger.answer(), (b"answer".to_vec(), 0));
}

/// rustls sees nothing of it: it would keep the piece to itself.
#[test]
fn a_piece_of_a_message_may_come_with_the_handshake() {
    let (client, server) = configs(SUITES[0], true);
    let mut client = End::new(Session::client(client, name()).unwrap());
    let mut server = End::new(Session::server(server).unwrap());
    client.receive(&[]).unwrap();
    server.receive(&std::mem::take(&mut client.out)).unwrap();
    client.receive(&std::mem::take(&mut server.out)).unwrap();
    let layer = client.session.records().unwrap();
    let (first, last) = KEY_UPDATE.split_at(2);
    layer.outgoing.seal(ContentType::Handshake, first, &mut client.out).unwrap();
    server.receive(&std::mem::take(&mut client.out)).unwrap();
    assert!(server.session.records().is_some());
    layer.outgoing.seal(ContentType::Handshake, last, &mut client.out).unwrap();
    layer.update_outgoing_keys(&mut Vec::new()).unwrap();
    client.send(b"with new keys");
    server.receive(&client.out).unwrap();
    assert_eq!(server.take_plain(), b"with new keys");
}

#[test]
fn padding_and_sizes() {
    let mut forger = Forger::new(false);
    for (content, padding) in [(0, 0), (0, 1), (1, 0), (1, 300), (0, MAX_PLAINTEXT), (MAX_PLAINTEXT, 0)] {
        // The content ends in zeros itself.
        let inner = [vec![0; content], vec![23], vec![0; padding]].concat();
        assert_eq!(forger.seal_inner(&inner).deliver().unwrap(), vec![0; content]);
    }
    // Empty ones are counted in a row.
    for _ in 0..3 {
        (0..32).for_each(|_| _ = forger.data(b""));
        assert_eq!(forger.data(b"something").deliver().unwrap(), b"something");
    }
}

#[test]
fn a_record_is_opened_once_it_is_whole() {
    let mut forger = Forger::new(true);
    forger.data(b"one").data(b"two");
    let wire = std::mem::take(&mut forger.wire);
    for byte in &wire[..wire.len() - 1] {
        forger.ours.receive(&[*byte]).unwrap();
    }
    assert_eq!(forger.ours.take_plain(), b"one");
    forger.ours.receive(&wire[wire.len() - 1..]).unwrap();
    assert_eq!((forger.ours.take_plain(), forger.ours.rest.len()), (b"two".to_vec(), 0));
}

#[test]
fn sequence_numbers_do_not_wrap() {
    let mut forger = Forger::new(true);
    forger.layer().outgoing.exhaust();
    forger.ours.session.records().unwrap().incoming.exhaust();
    assert_eq!(forger.data(b"last").deliver().unwrap(), b"last");
    let sealed = forger.layer().outgoing.seal(ContentType::ApplicationData, b"one more", &mut Vec::new());
    assert_eq!(sealed, Err(Error::EncryptError));
    forger.wire.extend([[23, 3, 3, 0, 17].as_slice(), &[0; 17]].concat());
    assert_eq!(forger.fault(), (Error::DecryptError, Some(AlertDescription::BadRecordMac)));
}

/// What the fuzzer does, with scripts that look random.
#[cfg(feature = "testkit")]
#[test]
fn random_scripts() {
    let mut random = crate::tls::record::tests::Random(1);
    for _ in 0..20_000 {
        let len = random.below(200);
        // Steps with few bytes each, so that many make a script.
        let script: Vec<u8> = (0..len)
            .map(|_| {
                let bound = [8, 30, 256][random.below(3)];
                random.below(bound) as u8
            })
            .collect();
        crate::tls::record::fuzz_records(&script);
    }
}
