"""An actor-critic (Mnih et al. 2016) that balances rods; an environment replaces the dataset."""

import torch

from wf_base import BaseTrainer, Batch

NUM, STEPS, DISCOUNT = 16, 32, 0.95


def pushed(states, actions):
    """Push the rods for 0.05 s; returns their states [N, 2] (angle, angular velocity), and which rods have fallen."""
    angle, speed = states.unbind(1)
    speed = speed + 0.05 * (9.8 * angle.sin() + 12 * actions - 6)
    return torch.stack([angle + 0.05 * speed, speed], 1), (angle + 0.05 * speed).abs() > 0.5


class ActorCritic(BaseTrainer):
    """The actor learns from the advantage: the return minus the critic's estimate."""

    scopes = {"model": ("actor", "critic"), "optimizer": ("actor", "critic")}
    run_values = staticmethod(lambda: {"input_shape": (2,), "steps_per_epoch": 50})

    def __init__(self, model, optimizers):
        super().__init__(model, optimizers=optimizers)
        self.states = torch.rand(NUM, 2) / 5 - 0.1

    @torch.no_grad()
    def make_batch(self):
        seen = []
        for _ in range(STEPS):
            actions = self.model["actor"](self.states).softmax(1).multinomial(1)[:, 0]
            after, fell = pushed(self.states, actions)
            seen.append((self.states, actions, fell))
            self.states = torch.where(fell[:, None], torch.rand(NUM, 2) / 5 - 0.1, after)
        states, actions, fallen = (torch.stack(one) for one in zip(*seen, strict=True))
        value, returns = self.model["critic"](self.states)[:, 0], []
        for fell in fallen.flip(0):  # the reward of a step is 1; a fall ends the return
            value = 1 + DISCOUNT * value * ~fell
            returns.insert(0, value)
        targets = {"actions": actions.flatten(), "returns": torch.cat(returns), "fallen": fallen.flatten()}
        return Batch(states.flatten(0, 1), targets, None, None, NUM * STEPS)

    def step(self, batch):
        self.record("fallen", batch.targets["fallen"].float().mean())  # logged as train/fallen
        self.update("critic", lambda part: self.better(part).square().mean())
        self.update("actor", self.regret)

    def better(self, batch):
        return batch.targets["returns"] - self.model["critic"](batch.inputs)[:, 0]

    def regret(self, batch):
        better, chances = self.better(batch).detach(), self.model["actor"](batch.inputs).log_softmax(1)
        return -(chances.gather(1, batch.targets["actions"][:, None])[:, 0] * better / better.std()).mean()

    def state_dict(self):  # a resumed run continues with the same rods
        return {"states": self.states}

    def load_state_dict(self, state):
        self.states = state["states"].clone()
