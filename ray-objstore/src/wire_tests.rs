use super::*;

const KEY: Key = Key([9; 20]);

#[test]
fn every_request_survives_its_packet_and_a_cut_one_is_refused() {
    let requests = [
        Request::Create {
            id: 1,
            key: KEY,
            size: u64::MAX,
            lease: true,
        },
        Request::Seal {
            id: 2,
            generation: 3,
            sealed_at: 4,
        },
        Request::Abort { generation: 4 },
        Request::Get { id: 5, key: KEY },
        Request::Unhold { generation: 6 },
        Request::Contains { id: 7, key: KEY },
        Request::Free {
            keys: vec![KEY; KEYS_PER_PACKET],
            freed_at: 9,
        },
        Request::Sync { id: 8 },
        Request::Bye,
    ];
    for request in requests {
        let packet = request.encode();
        assert!(packet.len() <= MAX_PACKET);
        assert_eq!(Request::decode(&packet), Some(request));
        assert_eq!(Request::decode(&packet[..packet.len() - 1]), None);
    }
    assert_eq!(Request::decode(&[200]), None);
}

#[test]
fn every_reply_survives_its_packet() {
    let usage = Usage {
        capacity: 1,
        creating: 2,
        sealed: 3,
        arenas: 8,
        dying: 4,
        spilled: 5,
        holders: vec![Holder { pid: 6, bytes: 7 }],
    };
    let (waited, spill_error) = (Duration::from_secs(3), Some("no space left on device".to_owned()));
    let results = [
        Ok(Answer::Granted {
            generation: 1,
            offset: 2,
            backed: true,
        }),
        Ok(Answer::Sealed { slot: 3 }),
        Ok(Answer::Found {
            generation: 1,
            slot: 2,
            offset: 3,
            size: 4,
        }),
        Ok(Answer::Contains(true)),
        Ok(Answer::Leased {
            lease: 1,
            generation: 2,
            offset: 3,
            backed: true,
        }),
        Ok(Answer::Synced),
        Err(Error::NotFound { key: KEY }),
        Err(Error::Lost {
            key: KEY,
            reason: "gone".into(),
        }),
        Err(Error::Full {
            requested: 9,
            waited,
            usage,
            spill_error,
        }),
        Err(Error::TooLarge {
            requested: 2,
            capacity: 1,
        }),
        Err(Error::TooManyObjects { limit: 5 }),
        Err(Error::StoreGone),
    ];
    for result in results {
        let packet = Reply {
            id: 42,
            result: result.clone(),
        }
        .encode();
        assert!(packet.len() <= MAX_REPLY);
        let back = Reply::decode(&packet).unwrap();
        assert_eq!((back.id, format!("{:?}", back.result)), (42, format!("{result:?}")));
    }
}

#[test]
fn a_greeting_of_another_protocol_is_refused() {
    let hello = Hello {
        segment_len: 1,
        huge: true,
        buckets: 2,
        slots: 3,
    };
    let mut packet = hello.encode();
    assert_eq!(Hello::decode(&packet).unwrap(), hello);
    packet[8] = 99;
    assert!(matches!(Hello::decode(&packet), Err(Error::Corrupt { .. })));
}
