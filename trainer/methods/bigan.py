"""BiGAN (Donahue, Krähenbühl, Darrell, "Adversarial Feature Learning", ICLR 2017): an encoder E learns to invert a generator G of
pictures, since a discriminator D of pairs is not to tell (x, E(x)) from (G(z), z)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.backbones.encoder import Encoder
from trainer.backbones.generator import Discriminator, Generator
from trainer.config import TrainConfig
from trainer.methods.method import Batch, Method, precision
from trainer.neighbourhoods import MemoryBank


class BiGAN(Method):
    """Section 3. E(x) is the encoder's embedding before it is divided by its norm; z is uniform in [-1, 1]^d, as in the published
    experiments. D and then E and G together take a step for each batch."""

    works_on_ranks = False  # a step takes two updates, and DistributedDataParallel averages the gradients of one

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        super().__init__(config, encoder, bank, labels)
        assert config.crop_size
        self.generator = Generator(config.dim, config.crop_size)
        self.discriminator = Discriminator(config.dim, config.crop_size)

    def make_optimisers(self, of_encoder: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        """Adam for E and G, and for D, with the momentum of DCGAN."""
        of_generator, of_discriminator = (
            {"params": list(module.parameters()), "share": 1.0} for module in (self.generator, self.discriminator)
        )
        return [
            torch.optim.Adam(groups, 0.0, betas=(0.5, 0.999), weight_decay=self.config.weight_decay, fused=True)
            for groups in ([*of_encoder, of_generator], [of_discriminator])
        ]

    def forward(self, images: Tensor) -> Tensor:
        """E(x), (b, d)."""
        return self.encoder.linear(self.encoder.pooled(images))

    def loss(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """What E and G minimise, of D's logits (b,) of (x, E(x)) and (G(z), z): D's cross-entropy with the labels swapped,
        -log(1 - D(x, E(x))) - log D(G(z), z). Its gradient does not vanish where D is right, as the minimax objective's does."""
        encoded, generated = outputs
        return (F.softplus(encoded) + F.softplus(-generated)).mean()

    def step(self, forward: torch.nn.Module, images: Tensor, batch: Batch) -> Tensor:
        """One step of D, then one of E and G against it, whose loss is returned."""
        self.train()
        self.encoder.train(self.config.epochs_first != 0)
        of_both, of_discriminator = self.optimisers
        images = images.contiguous(memory_format=torch.channels_last)
        z = self.noise(len(images), "noise", batch.round, batch.epoch, batch.step)
        with precision(self.config, images.device):
            codes, pictures = forward(images), self.generator(z)
            logits = self.discriminator(images, codes.detach()), self.discriminator(pictures.detach(), z)
        of_discriminator.zero_grad(set_to_none=True)
        self.loss((-logits[0], -logits[1]), batch).backward()  # type: ignore[no-untyped-call]
        of_discriminator.step()
        with precision(self.config, images.device):
            logits = self.discriminator(images, codes), self.discriminator(pictures, z)
        loss = self.loss(logits, batch)
        of_both.zero_grad(set_to_none=True)
        learning = [value for group in of_both.param_groups for value in group["params"]]
        loss.backward(inputs=learning)  # type: ignore[no-untyped-call]
        of_both.step()
        return loss.detach()

    def noise(self, count: int, purpose: str, *where: int) -> Tensor:
        """z, (count, d), drawn on the CPU."""
        z = 2 * torch.rand(count, self.config.dim, generator=self.rng(purpose, *where)) - 1
        return z.to(self.bank.rows.device)

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        """G(z) of the same z each time, by the running moments of its normalisation."""
        pictures: Tensor = self.generator.eval()(self.noise(count, "samples"))
        return (255 * pictures).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


METHOD = BiGAN
