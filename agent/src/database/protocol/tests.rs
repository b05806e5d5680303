use super::*;

const ME: ServerId = ServerId(0);
const OTHER: ServerId = ServerId(1);

fn rules() -> Rules {
    Rules {
        me: ME,
        chain: vec![ME, OTHER],
        never: Servers::default(),
        automatic: true,
        bucket: true,
        timing: Timing::regional(),
        omit: Omissions::default(),
    }
}

fn healthy(read_only: bool) -> Event {
    Event::Health(Health {
        life: Life::Answers,
        read_only,
        replica: None,
        missing: 0,
        errant: 0,
        sane: true,
    })
}

fn view(proposal: &Proposal, tag: u64) -> View {
    View {
        tag: Tag(tag),
        epoch: proposal.epoch,
        owner: ME,
        state: proposal.state,
        armed: proposal.armed,
        held: proposal.held,
        to: proposal.to,
        ttl: 10_000,
        age: 0,
        planned: proposal.planned,
    }
}

/// A machine and a world that does what it wants at once, with a bucket that may be away.
struct World {
    machine: Machine,
    rules: Rules,
    now: Ms,
    tag: u64,
    open: bool,
    /// Its disk is full, or hangs: it answers, and commits nothing.
    stuck: bool,
    bucket: Option<Answer>,
}

impl World {
    fn master() -> Self {
        let mut world = Self {
            machine: Machine::new(0, 0),
            rules: rules(),
            now: 0,
            tag: 0,
            open: false,
            stuck: false,
            bucket: None,
        };
        world.tell(healthy(true));
        world.pass(5_000);
        assert_eq!(world.machine.state(), State::Serving);
        world
    }

    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.machine.step(&self.rules, self.now, event) {
                events.extend(self.answer(action));
            }
        }
    }

    fn answer(&mut self, action: Action) -> Option<Event> {
        Some(match action {
            Action::Read => Event::Bucket(self.bucket.unwrap_or(if self.tag == 0 {
                Answer::Absent
            } else {
                Answer::Unchanged
            })),
            Action::Write(proposal) => Event::Bucket(self.bucket.unwrap_or_else(|| {
                self.tag += 1;
                Answer::Done(view(&proposal, self.tag))
            })),
            Action::Observe => healthy(!self.open),
            Action::Beat => Event::Beat(if self.open && self.stuck {
                Beat::Failed
            } else if self.open {
                Beat::Done
            } else {
                Beat::ReadOnly
            }),
            Action::Do(task) => {
                match task {
                    Task::Open { .. } => self.open = true,
                    Task::Close | Task::Kill => self.open = false,
                    _ => {}
                }
                Event::Did(task, true)
            }
            Action::Ping(id) => Event::Peer(id, true),
            _ => return None,
        })
    }

    fn pass(&mut self, span: Ms) {
        for _ in 0..span / 100 {
            self.now += 100;
            self.tell(healthy(!self.open));
            self.tell(Event::Tick);
        }
    }
}

#[test]
fn the_first_of_the_chain_makes_the_lease_and_opens() {
    let world = World::master();
    let (view, _) = world.machine.lease().unwrap();
    assert!(world.open && view.armed && view.epoch == 1);
    assert_eq!(view.held, Servers::of(OTHER));
}

#[test]
fn without_the_bucket_a_master_goes_on_by_its_locks() {
    let mut world = World::master();
    world.bucket = Some(Answer::Away);
    world.pass(60_000);
    assert!(world.open);
}

#[test]
fn without_the_bucket_and_a_lock_a_master_stops_in_time() {
    let mut world = World::master();
    world.rules.chain.push(ServerId(2));
    world.bucket = Some(Answer::Away);
    world.pass(4_000);
    assert!(world.open);
    world.pass(2_000);
    assert!(!world.open);
}

#[test]
fn a_refused_renewal_stops_a_master_that_holds_all_locks_at_once() {
    let mut world = World::master();
    world.bucket = Some(Answer::Refused);
    world.pass(1_100);
    assert!(!world.open);

    // Taken for an outage, it would go on.
    let mut world = World::master();
    world.rules.omit.refusal_fences = true;
    world.bucket = Some(Answer::Refused);
    world.pass(20_000);
    assert!(world.open);
}

#[test]
fn a_master_that_cannot_commit_lets_others_have_their_turn() {
    let mut world = World::master();
    world.stuck = true;
    world.pass(7_000);
    let (view, _) = world.machine.lease().unwrap();
    assert_eq!(view.state, LeaseState::Released);
    assert!(!world.open);
    // Nobody came: it tries again.
    world.pass(world.rules.timing.second_wait);
    world.stuck = false;
    world.pass(10_000);
    assert!(world.open);
}

#[test]
fn a_master_whose_server_was_started_anew_goes_on_also_where_masters_change_by_hand_only() {
    let mut world = World::master();
    world.rules.automatic = false;
    world.tell(Event::Beat(Beat::Gone));
    world.tell(Event::Health(Health {
        life: Life::Gone,
        read_only: true,
        replica: None,
        missing: 0,
        errant: 0,
        sane: true,
    }));
    world.open = false;
    world.pass(3_000);
    assert_eq!(world.machine.state(), State::Serving);
}

#[test]
fn times_that_allow_two_masters_are_refused_with_their_numbers() {
    assert_eq!(Timing::regional().check(), Ok(()));
    let error = Timing {
        ttl: 8_000,
        ..Timing::regional()
    }
    .check()
    .unwrap_err();
    insta::assert_snapshot!(error, @"ttl 8000 ms less 10000 ppm of clock error must be at least stop_serving 5000 ms and fence_budget 3000 ms more that error: raise ttl, or lower stop_serving");
}
