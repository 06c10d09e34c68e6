"""A LightningModule, and how tests let a trainer fit it; importing this imports Lightning."""

import os

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fkd import soft_cross_entropy
from fkd.integrations.lightning import StudentDataModule

# 18 images of 6 crops: 3 steps an epoch.
SETTINGS = {"crops_per_image": 2, "batch_size": 6, "scheme": "topk3", "seed": 3}
SILENT = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Student(LightningModule):
    """Keeps which crops it was trained on, and what it was validated on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, 4),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(392, 3),
        )
        self.crops, self.validated, self.losses, self.seen = [], [], [], []

    def training_step(self, batch, batch_idx):
        images, soft_labels = batch
        self.crops.append(
            list(zip(batch.image_index.tolist(), batch.crop_index.tolist(), strict=True))
        )
        self.seen.append(batch)
        loss = soft_cross_entropy(self.net(images), soft_labels, reduction="mean")
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, targets = batch
        self.validated.append((images, targets))
        self.log("val_acc", (self.net(images).argmax(dim=1) == targets).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)  # of epochs
        return [optimizer], [schedule]

    @property
    def weights(self):
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters()])


def fit(data, *, folder=None, ckpt_path=None, student=None, **settings):
    """Fit a student to a data module or a loader; with a folder, keep a checkpoint of every step."""
    callbacks = []
    if folder is not None:
        callbacks.append(ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1))
    student = student or Student()
    trainer = Trainer(
        **SILENT | {"max_epochs": 3, "callbacks": callbacks, "num_sanity_val_steps": 0} | settings,
        enable_checkpointing=folder is not None,
    )
    trainer.fit(student, data, ckpt_path=ckpt_path)
    return student, trainer


class Kept(Student):
    """Saves what became of it in each process."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_fit_end(self):
        targets = torch.cat([targets for _, targets in self.validated])
        torch.save((self.crops, self.weights, targets), self.folder / str(self.global_rank))


def fit_in_two_processes(environment, store, folder):
    """Fit in two forks of a process that has not trained before."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    data = StudentDataModule(store, **SETTINGS | {"batch_size": 4})
    fit(data, student=Kept(folder), strategy="ddp_fork", devices=2, max_epochs=2)
