// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for messages of one record key: in order, and with one receiver at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chancery::Source;
use chancery_core::Delivery;

use super::{
    Fixture, PATIENCE, SILENCE, STREAM, Share, append, bodies, body, finish, set, silent, take,
};

/// In the order of appending, whatever the batches.
pub async fn a_key_keeps_its_order<F: Fixture>() {
    let place = F::fresh();
    let texts: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    let messages: Vec<(Option<&str>, &str)> =
        texts.iter().enumerate().map(|(n, b)| (Some(["k", "l"][n % 2]), b.as_str())).collect();
    append::<F>(&place.name, &messages).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut seen = Vec::new();
    for n in [1, 3, 7, 1, 13, 15] {
        seen.extend(finish(&mut source, n).await);
    }
    for parity in [0, 1] {
        let of_key = |b: &&String| b.parse::<usize>().unwrap() % 2 == parity;
        let got: Vec<&String> = seen.iter().filter(of_key).collect();
        assert_eq!(got, texts.iter().filter(of_key).collect::<Vec<_>>());
    }
}

/// Two receivers never have the same key.
pub async fn a_key_is_with_one_receiver<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "1"), (Some("k"), "2"), (Some("k"), "3")]).await;
    let mut first = F::source(&place.name, STREAM, "g").await;
    let mut second = F::source(&place.name, STREAM, "g").await;
    let (delivery, receipt) = take(&mut first, 1).await.remove(0);
    assert_eq!(body(&delivery), "1");
    silent(&mut second).await;
    append::<F>(&place.name, &[(Some("k"), "4")]).await;
    silent(&mut second).await;
    first.acknowledge(vec![receipt]).await.unwrap();
    drop(first);
    assert_eq!(finish(&mut second, 3).await, ["2", "3", "4"]);
}

/// A message that waits for its delay holds back the later ones of its key.
pub async fn a_delayed_key_holds_back_its_own<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "1"), (Some("k"), "2")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut batch = take(&mut source, 1).await;
    batch.extend(source.receive(1, Duration::ZERO).await.unwrap());
    for (_, receipt) in batch {
        source.give_back(receipt, SILENCE * 4).await.unwrap();
    }
    append::<F>(&place.name, &[(Some("k"), "3"), (Some("other"), "free")]).await;
    assert_eq!(finish(&mut source, 1).await, ["free"]);
    silent(&mut source).await;
    assert_eq!(finish(&mut source, 3).await, ["1", "2", "3"]);
}

/// A delay in the middle of a key holds back what follows, also once its turn has come.
pub async fn a_delay_inside_a_key_is_kept<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "1"), (Some("k"), "2"), (Some("k"), "3")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut batch = source.receive(3, PATIENCE).await.unwrap();
    while batch.len() < 3 {
        match source.receive(3 - batch.len(), SILENCE).await.unwrap() {
            more if more.is_empty() => break,
            more => batch.extend(more),
        }
    }
    while let Some((delivery, receipt)) = batch.pop() {
        let delay = if body(&delivery) == "2" { SILENCE * 6 } else { Duration::ZERO };
        source.give_back(receipt, delay).await.unwrap();
    }
    let batch = source.receive(3, PATIENCE).await.unwrap();
    assert_eq!(bodies(&batch), ["1"]);
    for (_, receipt) in batch {
        source.acknowledge(vec![receipt]).await.unwrap();
    }
    silent(&mut source).await;
    assert_eq!(finish(&mut source, 2).await, ["2", "3"]);
}

/// What is left with the broker for good, more of it than a batch has room for, must not stop the
/// key that a stranger chose for it; it comes again all the same.
pub async fn what_is_passed_over_holds_nothing_back<F: Fixture>() {
    let place = F::fresh();
    let mut flood = vec![(Some("k"), "stranger"); 5];
    flood.extend([(Some("k"), "1"), (Some("k"), "2")]);
    append::<F>(&place.name, &flood).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (mut left, mut done) = (0, Vec::new());
    while done.len() < 2 {
        let batch = source.receive(2, PATIENCE).await.unwrap();
        assert!(!batch.is_empty(), "nothing came after {left} passed over and {done:?} done");
        let (mut over, mut settled) = (Vec::new(), Vec::new());
        for (delivery, receipt) in batch {
            match body(&delivery) {
                body if body == "stranger" => over.push((receipt, SILENCE * 4)),
                body => {
                    done.push(body);
                    settled.push(receipt);
                }
            }
        }
        left += over.len();
        source.acknowledge(settled).await.unwrap();
        source.pass_over(over).await.unwrap();
    }
    assert_eq!(done, ["1", "2"]);
    assert_eq!(finish(&mut source, 5).await, ["stranger"; 5]);
    silent(&mut source).await;
}

/// A key moves to another receiver only when the first has let go of all of it.
pub async fn a_key_moves_as_a_whole<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "1"), (Some("k"), "2")]).await;
    let mut first = F::source(&place.name, STREAM, "g").await;
    let mut batch = first.receive(2, SILENCE).await.unwrap();
    if batch.len() < 2 {
        return; // this broker gives one of a key at a time
    }
    let mut second = F::source(&place.name, STREAM, "g").await;
    first.give_back(batch.remove(0).1, Duration::ZERO).await.unwrap();
    silent(&mut second).await;
    first.give_back(batch.remove(0).1, Duration::ZERO).await.unwrap();
    drop(first);
    assert_eq!(finish(&mut second, 2).await, ["1", "2"]);
}

/// Without a key nothing waits for anything.
pub async fn keyless_messages_are_independent<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(None, "1"), (None, "2"), (None, "3")]).await;
    let mut first = F::source(&place.name, STREAM, "g").await;
    let mut second = F::source(&place.name, STREAM, "g").await;
    if F::FEATURES.share == Share::Messages {
        let held = take(&mut first, 1).await;
        let rest = take(&mut second, 2).await;
        let all = bodies(&held).into_iter().chain(bodies(&rest));
        assert_eq!(set(all), set(["1", "2", "3"].map(String::from)));
        return;
    }
    // Whoever has them has all, and none is settled.
    let (mut hands, started) = (Vec::new(), Instant::now());
    while set(bodies(&hands)).len() < 3 {
        assert!(started.elapsed() < PATIENCE, "{:?} came", bodies(&hands));
        hands.extend(first.receive(1, SILENCE).await.unwrap());
        hands.extend(second.receive(1, SILENCE).await.unwrap());
    }
}

/// A flood behind one key that is stuck is no way to stop the others.
pub async fn a_blocked_key_does_not_stop_others<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("stuck"), "held")]).await;
    let mut first = F::source(&place.name, STREAM, "g").await;
    let mut held = take(&mut first, 1).await;
    if F::FEATURES.share != Share::Messages {
        // Whoever has a whole key gets more of it: it is stuck when it waits for something.
        first.give_back(held.remove(0).1, Duration::from_secs(3_600)).await.unwrap();
    }
    let flood: Vec<(Option<&str>, &str)> = vec![(Some("stuck"), "flood"); F::FLOOD];
    append::<F>(&place.name, &flood).await;
    append::<F>(&place.name, &[(Some("k"), "honest")]).await;
    let mut second = F::source(&place.name, STREAM, "g").await;
    let other = if F::FEATURES.share == Share::Messages { &mut second } else { &mut first };
    assert_eq!(finish(other, 1).await, ["honest"]);
    drop(held);
}

/// Messages that are given back again and again do not starve new ones, nor new ones them.
pub async fn returned_and_new_messages_take_turns<F: Fixture>() {
    let place = F::fresh();
    let stubborn: Vec<(Option<&str>, &str)> = vec![(None, "stubborn"); 20];
    append::<F>(&place.name, &stubborn).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    for (_, receipt) in take(&mut source, 20).await {
        source.give_back(receipt, Duration::ZERO).await.unwrap();
    }
    append::<F>(&place.name, &[(None, "new")]).await;
    let appended = Instant::now();
    // A server brings it a little later than it was appended, and turns are faster than that.
    let mut turns = 0;
    while turns < 60 || (F::FEATURES.server && appended.elapsed() < PATIENCE) {
        for (delivery, receipt) in take(&mut source, 1).await {
            if body(&delivery) == "new" {
                return;
            }
            source.give_back(receipt, Duration::ZERO).await.unwrap();
            turns += 1;
        }
    }
    panic!("the new message never had its turn");
}

/// Random appends, receives, acknowledgements, returns and deaths; every promise is checked at
/// every step.
pub async fn a_random_walk_keeps_every_promise<F: Fixture>() {
    for seed in 1..=6 {
        walk::<F>(seed).await;
    }
}

const KEYS: [Option<&str>; 4] = [Some("k"), Some("l"), Some("m"), None];

struct Walk<S: Source> {
    random: u64,
    appended: Vec<Option<&'static str>>,
    done: BTreeSet<usize>,
    receivers: Vec<(S, BTreeMap<usize, S::Receipt>)>,
}

async fn walk<F: Fixture>(seed: u64) {
    let place = F::fresh();
    let mut walk =
        Walk { random: seed, appended: Vec::new(), done: BTreeSet::new(), receivers: Vec::new() };
    for _ in 0..3 {
        let source = F::source(&place.name, STREAM, "g").await;
        walk.receivers.push((source, BTreeMap::new()));
    }
    for _ in 0..150 {
        let (who, choice) = (walk.below(3), walk.below(10));
        match choice {
            0..=2 => {
                let key = KEYS[walk.below(4)];
                append::<F>(&place.name, &[(key, &walk.appended.len().to_string())]).await;
                walk.appended.push(key);
            }
            3..=5 => walk.receive(who).await,
            6..=7 => walk.acknowledge(who).await,
            8 => walk.give_back(who).await,
            _ if walk.below(4) == 0 => {
                let source = F::source(&place.name, STREAM, "g").await;
                walk.receivers[who] = (source, BTreeMap::new());
            }
            _ => {}
        }
    }
    walk.receivers.clear();
    let mut source = F::source(&place.name, STREAM, "g").await;
    let left = walk.appended.len() - walk.done.len();
    let rest: BTreeSet<usize> =
        finish(&mut source, left).await.iter().map(|b| b.parse().unwrap()).collect();
    assert!(rest.is_disjoint(&walk.done), "seed {seed}: acknowledged messages came again");
    assert_eq!(rest.len(), left, "seed {seed}: messages were lost or doubled");
    silent(&mut source).await;
}

impl<S: Source> Walk<S> {
    // xorshift64: a failure can be played again from its seed.
    fn below(&mut self, n: u64) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from((self.random >> 20) % n).unwrap()
    }

    async fn receive(&mut self, who: usize) {
        let max = 1 + self.below(4);
        let wait = Duration::from_millis(1);
        let batch = self.receivers[who].0.receive(max, wait).await.unwrap();
        for (delivery, receipt) in batch {
            let n = self.check(who, &delivery);
            self.receivers[who].1.insert(n, receipt);
        }
    }

    fn check(&self, who: usize, delivery: &Delivery) -> usize {
        let n: usize = body(delivery).parse().unwrap();
        assert!(!self.done.contains(&n), "{n} was acknowledged and came again");
        let held = |m: &usize| self.receivers.iter().position(|(_, hand)| hand.contains_key(m));
        assert_eq!(held(&n), None, "{n} is in two hands");
        if self.appended[n].is_some() {
            for m in (0..self.appended.len()).filter(|m| self.appended[*m] == self.appended[n]) {
                let other = held(&m).is_some_and(|holder| holder != who);
                assert!(!other, "{n} came while {m} of its key was elsewhere");
                let skipped = m < n && held(&m).is_none() && !self.done.contains(&m);
                assert!(!skipped, "{n} came before {m} of its key");
            }
        }
        n
    }

    async fn acknowledge(&mut self, who: usize) {
        let (source, hand) = &mut self.receivers[who];
        if let Some((n, receipt)) = hand.pop_first() {
            source.acknowledge(vec![receipt]).await.unwrap();
            self.done.insert(n);
        }
    }

    // The later ones of a key go back first, so that this receiver keeps no hole.
    async fn give_back(&mut self, who: usize) {
        let delay = Duration::from_millis(u64::try_from(self.below(30)).unwrap());
        let (source, hand) = &mut self.receivers[who];
        if let Some((_, receipt)) = hand.pop_last() {
            source.give_back(receipt, delay).await.unwrap();
        }
    }
}
