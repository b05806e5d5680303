//! Whether there is a master again, if nothing else happens: the liveness that is looked for from the states of a search.

use node_agent::database::protocol::ServerId;

use crate::world::{Budget, Setup, World};

/// Ticks after which there must be a master, where there can be one.
const PATIENCE: u32 = 60;

/// More happens in no tick.
const BUSY: u32 = 60;

impl World {
    /// Whether there is a master in the end, or there is a reason for which there should be none, if from now on nothing
    /// fails, nothing that has failed comes back, and what is under way arrives; `last`: the latest request first.
    pub fn has_hope(&self, setup: &Setup, last: bool) -> bool {
        let mut world = self.clone();
        world.budget = Budget::default();
        let stays = setup.timing.ttl + setup.timing.stop_serving;
        let mut serves = 0;
        for _ in 0..PATIENCE {
            // A protocol that lacks something may ask again and again in one moment.
            let _ = (0..BUSY).find(|_| !world.settle(setup, last));
            world.tick(setup);
            world.tidy();
            if world.wrong.is_some() {
                // The search itself finds that.
                return true;
            }
            serves = if world.writable().is_empty() {
                0
            } else {
                serves + 1
            };
            if serves > stays {
                return true;
            }
        }
        !world.should_have_master(setup)
    }

    /// Whether one server that is fit to be the master, its agent and the bucket are there, and nothing is known of that
    /// leaves the decision to a person.
    fn should_have_master(&self, setup: &Setup) -> bool {
        (0..setup.servers).any(|id| self.could_serve(setup, id))
    }

    fn could_serve(&self, setup: &Setup, id: u8) -> bool {
        let Some(lease) = self.object else {
            return false;
        };
        let node = self.node(id);
        let server = &node.server;
        let whole = self.runs(id) && server.up && !server.hung && !node.cut && !server.errant;
        let owner = lease.owner.0;
        if !whole || id == owner {
            // What an owner has lost by a crash another server may have.
            return whole && !server.behind;
        }
        // Its threads stand since a crash: whether it received more than it applied, nobody knows. A person starts them.
        let replicates = server.source.is_some() && (server.applies || self.reaches_source(id));
        // It handed over, with everything.
        let gave = server.source.is_none() && lease.complete;
        // The owner says that it is closed, or something closes it, or this server can.
        let old = self.node(owner);
        let reached = self.linked(id, owner) && !old.off && !old.server.hung;
        let closed = lease.is_closed() || lease.armed || reached;
        // One that is not listed does not know whether the owner goes on by the locks of those that are.
        let listed =
            lease.is_closed() || lease.held.is_empty() || lease.held.contains(ServerId(id));
        // A second failover so soon is a person's.
        let calm = self.failovers == 0 || lease.planned || setup.timing.cooldown == 0;
        (replicates || gave) && closed && listed && calm
    }
}
