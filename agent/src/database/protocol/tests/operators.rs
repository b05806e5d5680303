//! What people and circumstances do to a master: two machines of one name, gates left behind, servers that do not apply.

use super::*;

#[test]
fn a_lease_under_this_servers_name_that_another_machine_writes_is_anothers() {
    let mut world = World::master();
    let clone = |tag| View {
        owner: ServerId::NAMESAKE,
        armed: true,
        ..others(tag, 1, LeaseState::Serving)
    };
    world.bucket = Some(BucketAnswer::Lease(clone(100)));
    world.pass(1_500);
    assert!(!world.open && world.machine.is_namesakes());
    // As long as the other one renews, this one keeps out.
    for tag in 101..160 {
        world.bucket = Some(BucketAnswer::Lease(clone(tag)));
        world.pass(1_000);
        assert!(!world.open);
    }
    // It has fallen silent: this one lacks nothing that it had, and may follow it like any other.
    let mut bid = false;
    for now in (world.now..world.now + 30_000).step_by(100) {
        let mut events = vec![Event::Tick, healthy(true)];
        while let Some(event) = events.pop() {
            for action in world.machine.step(&world.rules, now, event) {
                bid |= matches!(action, Action::Write(Proposal { epoch: 2, .. }));
                events.extend(match action {
                    Action::Read => Some(Event::Bucket(BucketAnswer::Unchanged)),
                    Action::LookAtOld(_) => Some(Event::Old(OldMaster::Unreachable)),
                    Action::Write(_) => None,
                    other => world.answer(other),
                });
            }
        }
    }
    assert!(bid);
}

/// What a server does with its gate, which an earlier agent has left in place or not, under another's lease.
fn gates(found: bool, replica: Option<Replica>) -> Vec<Action> {
    let mut machine = Machine::new(0, 1);
    (machine.armed, machine.shut) = (found, found);
    let health = closed(History::Contained, replica);
    let mut actions = watches(&mut machine, health, 5_000, |now| {
        others(now / 1_000, 2, LeaseState::Serving)
    });
    actions.retain(|action| matches!(action, Action::Disarm | Action::Shut | Action::Feed { .. }));
    actions
}

#[test]
fn a_gate_stays_shut_until_its_server_follows_another_epoch() {
    // A gate that was found is adopted, and goes when the server follows; till then it stands as it is.
    assert_eq!(gates(true, None), []);
    assert_eq!(gates(true, Some(follows())), [Action::Disarm]);
    let connecting = Replica {
        receives: false,
        ..follows()
    };
    assert_eq!(gates(true, Some(connecting)), []);
    // One that was a master, and has come back without its gate, gets it again; a replica has none.
    assert_eq!(gates(false, None), [Action::Shut]);
    assert_eq!(gates(false, Some(follows())), []);

    // A master that is closed keeps it, and does not feed it before it is armed anew.
    let mut world = World::master();
    world.bucket = Some(BucketAnswer::Refused);
    world.pass(1_500);
    assert!(!world.open && world.machine.is_shut());
    world.bucket = None;
    world.pass(30_000);
    assert!(world.open && world.machine.armed() && !world.machine.is_shut());
}

#[test]
fn a_gate_that_was_found_is_not_opened_before_it_is_armed_anew() {
    let mut world = World::master();
    let epoch = world.machine.known_epoch();
    world.machine = Machine::new(world.now, epoch);
    (world.machine.armed, world.machine.shut) = (true, true);
    let mut events = vec![healthy(false)];
    let mut armed = false;
    for _ in 0..30 {
        world.now += 100;
        events.push(Event::Tick);
        while let Some(event) = events.pop() {
            for action in world.machine.step(&world.rules, world.now, event) {
                armed |= matches!(action, Action::Do(Task::Arm { .. }));
                assert!(armed || !matches!(action, Action::Feed { .. }));
                events.extend(world.answer(action));
            }
        }
    }
    assert!(armed && world.open);
}

/// What a candidate with this health does under a lease that its owner gave back without having opened, a minute after a failover.
fn takes_what_was_given_back(applied: bool, missing: u64, unopened: bool) -> bool {
    let health = Health {
        missing,
        applied,
        ..closed(History::Contained, Some(follows()))
    };
    let lease = View {
        planned: false,
        unopened,
        ..others(1, 2, LeaseState::Released)
    };
    let mut machine = Machine::new(0, 1);
    bids(&watches(&mut machine, health, 30_000, |_| lease))
}

#[test]
fn who_gave_the_lease_back_yields_to_who_has_applied_everything() {
    assert!(takes_what_was_given_back(true, 0, true));
    // Who has not applied it either, or lacks what the other one may have, is no better.
    assert!(!takes_what_was_given_back(false, 0, true));
    assert!(!takes_what_was_given_back(true, 1, true));
    // One that was a master for a while is a failover, and this would be the second.
    assert!(!takes_what_was_given_back(true, 0, false));
}

/// A world in which this server has taken over, and applies nothing.
fn blocked() -> World {
    let mut world = World::master();
    world.stalls = true;
    world.open = false;
    world.rules.chain.push(ServerId(2));
    world.last = Some(View {
        owner: ME,
        ..others(50, 5, LeaseState::Promoting)
    });
    world.tag = 50;
    world.machine = Machine::new(world.now, 5);
    world
}

#[test]
fn an_owner_that_applies_nothing_gives_the_lease_back_once() {
    let mut world = blocked();
    let state = |world: &World| world.last.unwrap().state;
    world.pass(8_000);
    assert_eq!(state(&world), LeaseState::Promoting);
    world.pass(4_000);
    assert_eq!(state(&world), LeaseState::Released);
    assert!(world.last.unwrap().unopened);
    // Nobody came in their turns: it goes on, for as long as applying may take.
    world.pass(60_000);
    assert_eq!(state(&world), LeaseState::Promoting);
    world.stalls = false;
    world.tell(Event::Did(Task::Drain, true));
    world.pass(3_000);
    assert!(world.open);
}

#[test]
fn who_gave_back_what_never_opened_goes_on_with_what_it_began_without() {
    // It took over though it lacked some of the dead master's writes, as it may, and gave the lease back to be overtaken.
    let goes_on = |missing, unopened| {
        let lease = View {
            owner: ME,
            unopened,
            ..others(1, 2, LeaseState::Released)
        };
        let health = Health {
            missing,
            ..closed(History::Contained, Some(follows()))
        };
        let mut machine = Machine::new(0, 2);
        watches(&mut machine, health, 60_000, |_| lease);
        machine.state() != State::Following
    };
    assert!(goes_on(0, true) && goes_on(5, true));
    // One that was open must not hide what it lost.
    assert!(goes_on(0, false) && !goes_on(5, false));
}

/// What a server does in twenty seconds under rules, with a lease that stands still, and an order after twelve of them.
fn does(rules: &Rules, health: Health, lease: View, order: Option<Order>) -> Vec<Action> {
    let mut machine = Machine::new(0, 1);
    let mut all = Vec::new();
    for now in (0..20_000).step_by(100) {
        let mut events = vec![Event::Tick, Event::Health(health)];
        events.extend(order.filter(|_| now == 12_000).map(Event::Order));
        while let Some(event) = events.pop() {
            for action in machine.step(rules, now, event) {
                events.extend(match action {
                    Action::Read => Some(Event::Bucket(BucketAnswer::Lease(lease))),
                    Action::Observe => Some(Event::Health(health)),
                    Action::TakeLock => Some(Event::OwnLock(OwnLock::Held)),
                    Action::LookAtOld(_) => Some(Event::Old(OldMaster::Unreachable)),
                    _ => None,
                });
                all.push(action);
            }
        }
    }
    all
}

#[test]
fn a_gate_that_a_watched_masters_lease_still_names_is_no_proof() {
    let ordered = |observed, off| {
        let lease = View {
            observed,
            armed: true,
            ..others(1, 2, LeaseState::Serving)
        };
        let health = closed(History::Contained, Some(follows()));
        bids(&does(
            &rules(),
            health,
            lease,
            Some(Order::TakeOver { off }),
        ))
    };
    assert!(ordered(false, false));
    // Nobody closes that one by itself: a person says that it is off.
    assert!(!ordered(true, false) && ordered(true, true));
}

#[test]
fn a_watched_server_whose_place_a_person_gave_to_another_is_closed() {
    let closes = |planned| {
        let lease = View {
            planned,
            ..others(1, 2, LeaseState::Serving)
        };
        let rules = Rules {
            automatic: false,
            ..rules()
        };
        let open = Health {
            read_only: false,
            ..closed(History::Contained, None)
        };
        let actions = does(&rules, open, lease, None);
        actions.contains(&Action::Do(Task::Close))
    };
    assert!(closes(true));
    // Whatever else happened, it is only watched.
    assert!(!closes(false));
}

#[test]
fn what_is_written_after_it_was_saved_and_forgotten_is_saved_again() {
    let mut machine = Machine::new(0, 1);
    let mut saved = Vec::new();
    for now in (0..60_000).step_by(100) {
        // Surplus, forgotten on a person's order, and new surplus in the same epoch.
        let errant = u64::from(!(20_000..40_000).contains(&now));
        let health = Health {
            errant,
            ..closed(History::Contained, Some(follows()))
        };
        let mut events = vec![Event::Tick, Event::Health(health)];
        while let Some(event) = events.pop() {
            for action in machine.step(&rules(), now, event) {
                events.extend(match action {
                    // Its owner renews it.
                    Action::Read => Some(Event::Bucket(BucketAnswer::Lease(others(
                        now / 1_000,
                        2,
                        LeaseState::Serving,
                    )))),
                    Action::Observe => Some(Event::Health(health)),
                    Action::Do(task) => {
                        if task == Task::SaveSurplus {
                            saved.push(now);
                        }
                        Some(Event::Did(task, true))
                    }
                    _ => None,
                });
            }
        }
    }
    let [first, second] = saved.as_slice() else {
        panic!("{saved:?}");
    };
    assert!(*first < 20_000 && *second >= 40_000, "{saved:?}");
}

#[test]
fn a_switchover_to_a_server_that_does_not_apply_closes_nothing() {
    let mut world = World::master();
    world.proves = false;
    world.closed_or_opened = 0;
    world.tell(Event::Order(Order::Switchover(OTHER)));
    world.pass(20_000);
    assert!(world.open && world.machine.state() == State::Serving);
    assert_eq!(world.closed_or_opened, 0, "it was closed, and opened again");
    assert_eq!(world.machine.order(), None);
    assert_eq!(world.last.unwrap().to, None);
    let mut world = World::master();
    world.tell(Event::Order(Order::Switchover(OTHER)));
    world.pass(3_000);
    assert_eq!(world.last.unwrap().state, LeaseState::Switching);
}

#[test]
fn a_replica_that_is_down_is_left_out_of_the_proof_and_counts_again_when_it_is_back() {
    let mut world = World::master();
    let listed = |world: &World| world.machine.lease().unwrap().0.held;
    // For a while it may be only started anew: a master that dies then is to have a successor.
    world.peers = PeerAnswer::Down;
    world.pass(8_000);
    assert_eq!(listed(&world), Servers::default());
    world.pass(4_000);
    assert_eq!(listed(&world), Servers::of(ME));
    world.bucket = Some(BucketAnswer::Away);
    world.pass(60_000);
    assert!(world.open, "nobody can take over");
    world.bucket = None;
    world.peers = PeerAnswer::Held;
    world.pass(3_000);
    assert_eq!(listed(&world), Servers::of(OTHER));

    // Who is silent may be alive, and the only one: he may take over, so nothing is proven.
    world.peers = PeerAnswer::Silent;
    world.pass(30_000);
    assert_eq!(listed(&world), Servers::default());
}

#[test]
fn a_list_that_may_stand_in_the_bucket_counts_until_another_write_is_confirmed() {
    let mut world = World::master();
    world.peers = PeerAnswer::Down;
    world.pass(12_000);
    assert_eq!(world.machine.lease().unwrap().0.held, Servers::of(ME));
    // The replica is back, and the write that lists it may have been done or not: it may take over, or not.
    world.bucket = Some(BucketAnswer::Away);
    world.peers = PeerAnswer::Held;
    world.pass(3_000);
    world.peers = PeerAnswer::Down;
    world.pass(8_000);
    assert!(!world.open, "it went on by a list that may be out of date");
}

/// The server of a master is gone, and its unit starts it again, closed.
fn started_anew(world: &mut World) {
    world.tell(Event::Beat(Beat::Gone));
    let Event::Health(health) = healthy(true) else {
        unreachable!()
    };
    world.tell(Event::Health(Health {
        life: Life::Gone,
        history: History::Blank,
        ..health
    }));
    world.open = false;
}

/// What is done to a master by itself while this is in force: each thing that can happen to it, one after the other.
fn left_alone(rules: impl Fn(&mut Rules), holding: Holding) {
    let quiet = |world: &World| world.closed_or_opened == 0;
    let begin = || {
        let mut world = World::master();
        rules(&mut world.rules);
        world.tell(Event::Hold(holding));
        world.pass(3_000);
        assert!(world.last.unwrap().observed);
        assert!(!world.machine.armed(), "its gate would close it");
        world.closed_or_opened = 0;
        world
    };
    // The bucket lets nobody in, and the locks are lost.
    let mut world = begin();
    world.bucket = Some(BucketAnswer::Away);
    world.peers = PeerAnswer::Silent;
    world.pass(60_000);
    assert!(world.open && quiet(&world));
    // A person closes it.
    let mut world = begin();
    world.open = false;
    world.pass(60_000);
    assert!(!world.open && quiet(&world));
    // Its server dies, and comes back.
    let mut world = begin();
    started_anew(&mut world);
    world.pass(60_000);
    assert!(!world.open && quiet(&world));
    // A person opens it again: there it goes on.
    world.open = true;
    world.pass(5_000);
    assert_eq!(world.machine.state(), State::Serving);
    assert!(quiet(&world));
    // Or has it opened.
    world.open = false;
    world.pass(5_000);
    world.tell(Event::Order(Order::TakeOver { off: false }));
    world.pass(5_000);
    assert!(world.open && world.machine.state() == State::Serving);
    // Its agent is started anew.
    let mut world = begin();
    let epoch = world.machine.known_epoch();
    world.machine = Machine::new(world.now, epoch);
    world.pass(1_000);
    world.tell(Event::Hold(holding));
    world.pass(5_000);
    assert_eq!(world.machine.state(), State::Serving);
    assert!(world.open && quiet(&world));
}

#[test]
fn what_is_only_watched_is_never_closed_opened_or_killed() {
    left_alone(|_| {}, Holding::Paused);
    left_alone(|rules| rules.automatic = false, Holding::Free);
}

#[test]
fn nobody_takes_over_from_a_master_that_is_only_watched() {
    let watched = |observed| {
        let lease = View {
            observed,
            armed: true,
            ..others(1, 2, LeaseState::Serving)
        };
        let mut machine = Machine::new(0, 1);
        let health = closed(History::Contained, Some(follows()));
        bids(&watches(&mut machine, health, 60_000, |_| lease))
    };
    assert!(watched(false));
    assert!(!watched(true));
}

#[test]
fn a_pause_counts_once_the_lease_says_so_and_no_longer_than_every_one_may() {
    let mut world = World::master();
    world.peers = PeerAnswer::Silent;
    world.pass(3_000);
    // It could not be written: others may take over.
    world.bucket = Some(BucketAnswer::Away);
    world.tell(Event::Hold(Holding::Paused));
    world.pass(10_000);
    assert!(!world.open);

    // Paused, resumed by a write of which nobody knows what became, and paused again: the lease may be one to be taken over.
    let mut world = World::master();
    world.peers = PeerAnswer::Silent;
    world.tell(Event::Hold(Holding::Paused));
    world.pass(3_000);
    world.tell(Event::Hold(Holding::Free));
    world.bucket = Some(BucketAnswer::Away);
    world.pass(1_500);
    world.tell(Event::Hold(Holding::Paused));
    world.pass(10_000);
    assert!(!world.open);
}

#[test]
fn a_master_that_is_worked_on_goes_on_as_soon_as_it_answers() {
    let mut world = World::master();
    world.tell(Event::Hold(Holding::Maintenance));
    started_anew(&mut world);
    world.pass(3_000);
    assert!(world.open && world.machine.state() == State::Serving);
    assert!(!world.last.unwrap().observed);
}

#[test]
fn so_soon_after_a_failover_an_owner_waits_for_nobody() {
    // In epoch 2, which began with a failover: no candidate acts within the pause.
    let after = |planned| {
        let mut world = World::master();
        world.last = world.last.map(|view| View {
            epoch: 2,
            planned,
            tag: Tag(99),
            ..view
        });
        world.tag = 99;
        world.machine = Machine::new(world.now, 2);
        world.pass(3_000);
        assert_eq!(world.machine.state(), State::Serving);
        started_anew(&mut world);
        world.pass(3_000);
        world.open
    };
    assert!(after(false));
    assert!(!after(true), "candidates have their turn");
}

#[test]
fn no_first_lease_is_made_while_these_servers_may_have_one_of_another_name() {
    let founds = |other_lease: bool, order: Option<Order>| {
        let rules = Rules {
            other_lease,
            ..rules()
        };
        let mut machine = Machine::new(0, 0);
        machine.order = order.map(|order| (order, 0));
        let blockers = machine.founding_blockers(&rules, 0);
        !blockers.contains(&Reason::OtherLease)
    };
    assert!(founds(false, None));
    assert!(!founds(true, None));
    assert!(!founds(true, Some(Order::TakeOver { off: true })));
}
