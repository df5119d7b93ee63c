"""Learning rate schedules: names, arguments and values of torch.optim.lr_scheduler.

Call ``scheduler.step()`` after ``optimizer.step()``. Most schedules multiply the current rate, so several may act on
one optimizer, and a rate the user sets is carried on.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastcnn.optim.optimizer import Optimizer

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
    "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip


class LRScheduler:
    """Base class: ``_rate(lr, base, epoch)`` gives a group's next rate from its current and its initial one.

    Args:
        optimizer: whose groups are driven.
        last_epoch: number of the last step done; -1 starts anew, another continues (then the groups need
            "initial_lr", as a loaded optimizer state has it).
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: got {type(optimizer).__name__}, expected a fastcnn.optim.Optimizer")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{name}: last_epoch is {last_epoch} but group {i} has no 'initial_lr'; load the optimizer's "
                    "state first, or start with last_epoch=-1"
                )
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self.step()

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        raise TypeError(f"{type(self).__name__}: _rate is not defined")

    def _closed(self, base: float, epoch: int) -> float | None:
        """The rate of an epoch without those before it, where there is such a formula."""
        return None

    def get_lr(self) -> list[float]:
        """The rates that the step to ``last_epoch`` sets."""
        groups = self.optimizer.param_groups
        return [self._rate(g["lr"], b, self.last_epoch) for g, b in zip(groups, self.base_lrs)]

    def get_last_lr(self) -> list[float]:
        """The rates of all groups after the last step."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Goes on to the next epoch, or to `epoch`."""
        self._step_count += 1
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        rates = self.get_lr()
        if epoch is not None:
            closed = [self._closed(base, epoch) for base in self.base_lrs]
            rates = [r if c is None else c for r, c in zip(rates, closed)]
        self._set(rates)

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All plain values; functions are left out."""
        return {
            k: v
            for k, v in self.__dict__.items()
            if k != "optimizer" and not callable(v) and k != "lr_lambdas"
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a state."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """initial rate * lr_lambda(epoch); one function, or one per group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas: list[Callable[[int], float]] = (
            list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        )
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"{type(self).__name__}: got {len(self.lr_lambdas)} functions for {groups} groups"
            )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas)]


class MultiplicativeLR(LambdaLR):
    """current rate * lr_lambda(epoch), from epoch 1 on."""

    def get_lr(self) -> list[float]:
        rates = [g["lr"] for g in self.optimizer.param_groups]
        return (
            rates
            if self.last_epoch == 0
            else [r * f(self.last_epoch) for r, f in zip(rates, self.lr_lambdas)]
        )


class StepLR(LRScheduler):
    """rate * gamma every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        return lr if epoch == 0 or epoch % self.step_size else lr * self.gamma

    def _closed(self, base: float, epoch: int) -> float:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """rate * gamma at each of the `milestones` (epochs)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        return lr * self.gamma ** self.milestones[epoch] if epoch in self.milestones else lr

    def _closed(self, base: float, epoch: int) -> float:
        return base * self.gamma ** bisect.bisect_right(sorted(self.milestones.elements()), epoch)


class ExponentialLR(LRScheduler):
    """rate * gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        return lr if epoch == 0 else lr * self.gamma

    def _closed(self, base: float, epoch: int) -> float:
        return base * self.gamma**epoch


class ConstantLR(LRScheduler):
    """rate * factor for the first `total_iters` epochs, then the full rate."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor is {factor}, expected a number between 0 and 1")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        if epoch == 0:
            return lr * self.factor
        return lr * (1 / self.factor) if epoch == self.total_iters else lr

    def _closed(self, base: float, epoch: int) -> float:
        return base * (self.factor + (epoch >= self.total_iters) * (1 - self.factor))


class LinearLR(LRScheduler):
    """From rate * start_factor to rate * end_factor in `total_iters` equal steps (warm-up)."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                f"LinearLR: got start_factor {start_factor} and end_factor {end_factor}, expected numbers in (0, 1] "
                "and [0, 1]"
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        if epoch == 0:
            return lr * self.start_factor
        if epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        return lr * (1 + rise / (self.total_iters * self.start_factor + (epoch - 1) * rise))

    def _closed(self, base: float, epoch: int) -> float:
        done = min(self.total_iters, epoch) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class PolynomialLR(LRScheduler):
    """initial rate * (1 - epoch / total_iters)^power, 0 afterwards."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        if epoch == 0 or epoch > self.total_iters:
            return lr
        return lr * ((1 - epoch / self.total_iters) / (1 - (epoch - 1) / self.total_iters)) ** self.power

    def _closed(self, base: float, epoch: int) -> float:
        return base * (1 - min(self.total_iters, epoch) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate to `eta_min` in `T_max` epochs, and back up (Loshchilov 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        period, low = self.T_max, self.eta_min
        if epoch == 0:
            return lr
        if self._step_count == 1:
            return self._closed(base, epoch)
        if (epoch - 1 - period) % (2 * period) == 0:  # the rate was eta_min, which has no ratio to grow by
            return lr + (base - low) * (1 - math.cos(math.pi / period)) / 2
        now, before = (1 + math.cos(math.pi * e / period) for e in (epoch, epoch - 1))
        return now / before * (lr - low) + low

    def _closed(self, base: float, epoch: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines that start again after T_0, then T_0 * T_mult, ... epochs (SGDR, Loshchilov 2017).

    ``step(epoch)`` takes fractions of an epoch too.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 < 1 or T_mult < 1 or int(T_0) != T_0 or int(T_mult) != T_mult:
            raise ValueError(
                f"CosineAnnealingWarmRestarts: got T_0 {T_0} and T_mult {T_mult}, expected ints >= 1"
            )
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, last_epoch
        super().__init__(optimizer, last_epoch)

    def _rate(self, lr: float, base: float, epoch: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2

    def step(self, epoch: float | None = None) -> None:
        """Goes on to the next epoch, or to `epoch`, which may be fractional."""
        self._step_count += 1
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: epoch is {epoch}, expected a number >= 0")
        else:
            self.T_cur, self.T_i = epoch, self.T_0
            while self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to far below (Smith 2018); momentum goes the other way.

    Args:
        optimizer: with a "momentum" or "betas" setting if `cycle_momentum`.
        max_lr: the peak, one or one per group.
        total_steps: of the whole cycle; or give `epochs` and `steps_per_epoch`.
        pct_start: share of the steps on the way up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum, base_momentum, max_momentum: lowest momentum at the peak of the rate.
        div_factor, final_div_factor: first rate = max_lr / div_factor, last = first / final_div_factor.
        three_phase: a symmetric way down before the last fall.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
        cycle_momentum: bool = True, base_momentum: Any = 0.85, max_momentum: Any = 0.95, div_factor: float = 25.0,
        final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or both epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0 or not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: got total_steps {total_steps}, pct_start {pct_start}, anneal_strategy "
                f"{anneal_strategy!r}, expected steps > 0, a share in [0, 1] and 'cos' or 'linear'"
            )
        groups = optimizer.param_groups

        def spread(value: Any) -> list[float]:
            out = list(value) if isinstance(value, (list, tuple)) else [value] * len(groups)
            if len(out) != len(groups):
                raise ValueError(f"OneCycleLR: got {len(out)} values for {len(groups)} groups")
            return out

        self.total_steps, self.anneal_strategy, self.cycle_momentum = (
            total_steps,
            anneal_strategy,
            cycle_momentum,
        )
        up = float(pct_start * total_steps) - 1
        #: (last step, what the rate goes from and to, the same for momentum)
        self.phases = [(up, 0, 1, 1, 0), (total_steps - 1, 1, 2, 0, 1)]
        if three_phase:
            middle = float(2 * pct_start * total_steps) - 2
            self.phases = [(up, 0, 1, 1, 0), (middle, 1, 0, 0, 1), (total_steps - 1, 0, 2, 1, 1)]
        if cycle_momentum and not ("momentum" in optimizer.defaults or "betas" in optimizer.defaults):
            raise ValueError("OneCycleLR: the optimizer has no momentum or betas; pass cycle_momentum=False")
        peaks = spread(max_lr)
        self._rates = [(p / div_factor, p, p / div_factor / final_div_factor) for p in peaks]
        self._momenta = list(zip(spread(base_momentum), spread(max_momentum)))
        if last_epoch == -1:
            for group, rates in zip(groups, self._rates):
                group["initial_lr"] = rates[0]
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {step} is beyond the {self.total_steps} steps of the cycle; raise total_steps"
            )
        start = 0.0
        for i, (end, *_rest) in enumerate(self.phases):
            if step <= end or i == len(self.phases) - 1:
                break
            start = end
        end, a, b, c, d = self.phases[i]
        share = (step - start) / (end - start)
        if self.cycle_momentum:
            for group, pair in zip(self.optimizer.param_groups, self._momenta):
                momentum = self._between(pair[c], pair[d], share)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return [self._between(rates[a], rates[b], share) for rates in self._rates]


class ReduceLROnPlateau(LRScheduler):
    """rate * factor when a metric has not improved for more than `patience` epochs: ``step(validation_loss)``.

    Args:
        optimizer: whose groups are driven.
        mode: "min" (a loss) or "max" (an accuracy).
        factor: < 1.
        patience: epochs without improvement that are let pass.
        threshold, threshold_mode: what counts as better: by this share of the best ("rel") or this much ("abs").
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: lower bound, one or one per group.
        eps: smaller changes of the rate are not made.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0.0,
        eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs") or not factor < 1:
            raise ValueError(
                f"ReduceLROnPlateau: got mode {mode!r}, threshold_mode {threshold_mode!r}, factor {factor}, "
                "expected 'min' or 'max', 'rel' or 'abs', a factor < 1"
            )
        groups = len(optimizer.param_groups)
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = (
            threshold,
            threshold_mode,
            cooldown,
            eps,
        )
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"ReduceLROnPlateau: got {len(self.min_lrs)} min_lr for {groups} groups")
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1 + sign * self.threshold)
        return sign * value > sign * self.best + self.threshold

    def step(self, metrics: float, epoch: int | None = None) -> None:
        """Takes the metric of one epoch."""
        value = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, low in zip(self.optimizer.param_groups, self.min_lrs):
                rate = max(group["lr"] * self.factor, low)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class _Several(LRScheduler):
    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name}: got no schedulers, expected at least one")
        if any(s.optimizer is not optimizer for s in schedulers):
            raise ValueError(f"{name}: the schedulers drive different optimizers, expected one")
        self.optimizer, self._schedulers = optimizer, list(schedulers)
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        own = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        return {**own, "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"]):
            scheduler.load_state_dict(state)
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "_schedulers"})


class ChainedScheduler(_Several):
    """Steps all schedulers together; their factors multiply."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        super().__init__(optimizer or schedulers[0].optimizer, schedulers)

    def step(self, epoch: int | None = None) -> None:
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class SequentialLR(_Several):
    """One schedule after the other: number i acts from epoch milestones[i - 1] on, starting at its own epoch 0."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: got {len(schedulers)} schedulers and {len(milestones)} milestones, expected one "
                "milestone less than schedulers"
            )
        super().__init__(optimizer, schedulers)
        self.milestones, self.last_epoch = list(milestones), last_epoch + 1
        # Every schedule made its first step when it was built; undo that, then start the first one again.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in schedulers:
            scheduler.last_epoch -= 1
            scheduler._step_count = 0
        schedulers[0].step()
        self._last_lr = schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        index = bisect.bisect_right(self.milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index > 0 and self.milestones[index - 1] == self.last_epoch:
            scheduler.step(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()
