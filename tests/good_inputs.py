"""Small inputs on which every stage runs, made once each; tests copy one and break it."""

import importlib
import io
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from unittest import mock

from PIL import Image

from imagetext.shards import ShardRow, list_shards, make_key, read_shard, write_shard
from imagetext.sidecars import write_sidecar
from miniweb.build import build
from runtime.config import to_yaml
from tests.llava_train import tiny
from tests.miniweb.tiny import tiny_config

COLOURS = ("red", "green", "blue", "yellow", "black", "white")
LOOP = (
    "--loop.num_updates=2", "--loop.batch_size=4", "--loop.learning_rate=1e-3", "--loop.device=cpu", "--loop.wandb=off",
    "--loop.checkpoint_every_updates=1",
)  # fmt: skip


class GoodInputs:
    """Make what is asked for, below one folder, and say how each stage is called on it."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def shards(self) -> Path:
        """Two shards of eight plain pictures, with their recaptions beside."""
        for index in range(2):
            rows, recaptions = [], []
            for row in range(8):
                colour, key = COLOURS[row % 6], make_key(index, row)
                picture = io.BytesIO()
                Image.new("RGB", (20, 16), colour).save(picture, "PNG")
                rows.append(ShardRow(key=key, image=picture.getvalue(), extension="png", caption=f"buy {colour}"))
                recaptions.append({"key": key, "re_caption": f"The image is {colour}. It is plain."})
            write_shard(self.root / "web" / "shards", index, rows)
            write_sidecar(self.root / "web" / "recaption", f"{index:05d}", recaptions)
        return self.root / "web" / "shards"

    @cached_property
    def sidecar(self) -> Path:
        """The recaptions of `shards`."""
        return self.shards.parent / "recaption"

    @cached_property
    def conversations(self) -> Path:
        """Pictures and LLaVA JSON for every phase."""
        return tiny.write_data(self.root / "conversations")

    @cached_property
    def miniweb(self) -> Path:
        """A built small web."""
        build(tiny_config(self.root / "miniweb"))
        return self.root / "miniweb"

    @cached_property
    def recaptions(self) -> dict[str, Path]:
        """Captions of the small web's splits that are recaptioned, by split."""
        folders = {"web": self.miniweb / "web_oracle"}
        for split, shards in {
            "web_heldout": "web_heldout",
            "captioner_heldout": "captioner_heldout",
            "prompts": "prompts/images",
        }.items():
            folders[split] = self.root / "recaptions" / split
            for shard in list_shards(self.miniweb / shards):
                rows = [{"key": sample.key, "re_caption": "A red dog."} for sample in read_shard(shard, split)]
                write_sidecar(folders[split], shard.name, rows)
        return folders

    @cached_property
    def foundation(self) -> Path:
        """A finished run whose export has a transformers CLIP in `hf/`."""
        return self._finish(
            "clip_train", *self.clip(), "--model=foundation", "--vocab_size=600", output=self.root / "foundation"
        )

    @cached_property
    def clip_run(self) -> Path:
        """A finished clip_train run."""
        return self._finish("clip_train", *self.clip(), output=self.root / "clip" / "s_small")

    @cached_property
    def dit_run(self) -> Path:
        """A finished dit_train run."""
        return self._finish("dit_train", *self.dit(), output=self.root / "dit" / "b")

    @cached_property
    def captioner(self) -> Path:
        """A finished llava_train run."""
        return self._finish("llava_train", *self.llava(), output=self.root / "captioner")

    @cached_property
    def job(self) -> Path:
        """A finished captioning job over `shards`."""
        return self._finish("recaption run", *self.recaption(), output=self.root / "job")

    @cached_property
    def judges(self) -> Path:
        """Judges that have hardly been trained."""
        return self._finish("eval judges", *self.arguments("eval judges"), output=self.root / "judges")

    def arguments(self, stage: str) -> list[object]:
        """Return a stage's arguments on good inputs, but for the output folder."""
        calls: dict[str, Callable[[], list[object]]] = {
            "miniweb": lambda: ["--counts.web=30"],
            "imagetext inspect": lambda: [f"--shards={self.shards}", f"--sidecars.recaption={self.sidecar}"],
            "imagetext shuffle-sidecar": lambda: [f"--sidecar={self.sidecar}"],
            "clip_train": self.clip,
            "dit_train": self.dit,
            "llava_train": self.llava,
            "recaption run": self.recaption,
            "eval captions": lambda: [f"--miniweb={self.miniweb}", f"--run={self.captioner}", *self._recaptions()],
            "eval captioner": lambda: [f"--miniweb={self.miniweb}", f"--run={self.captioner}", "--device=cpu"],
            "eval clip": lambda: [f"--miniweb={self.miniweb}", f"--run={self.clip_run}", "--device=cpu"],
            "eval images": lambda: [
                f"--miniweb={self.miniweb}",
                f"--run={self.dit_run}",
                "--device=cpu",
                f"--judges={self.judges}",
            ],
            "eval judges": lambda: [
                f"--miniweb={self.miniweb}",
                "--judge.num_updates=1",
                "--device=cpu",
                "--bootstrap_replicates=2",
            ],
        }
        return calls[stage]()

    def finished(self, stage: str) -> Path:
        """Return a folder that a stage has finished."""
        return {
            "miniweb": lambda: self.miniweb,
            "clip_train": lambda: self.clip_run,
            "dit_train": lambda: self.dit_run,
            "llava_train": lambda: self.captioner,
            "recaption run": lambda: self.job,
        }[stage]()

    def clip(self) -> list[object]:
        """Return clip_train's arguments, but for the folder."""
        model = ("--model=s_small", "--image_size_px=32", "--context_length=12", "--vocab_size=300")
        return [*self._data(), *LOOP, *model]

    def dit(self) -> list[object]:
        """Return dit_train's arguments, but for the folder."""
        encoder = f"--text_encoder={self.foundation / 'export' / 'hf'}"
        return [*self._data(), *LOOP, encoder, "--loop.ema_decay=0.9", "--model=b", "--image_size_px=24"]

    def llava(self) -> list[object]:
        """Return llava_train's arguments, but for the folder."""
        path = self.root / "llava.yaml"
        if not path.exists():
            path.write_text(to_yaml(tiny.config(self.root, self.root / "unused", num_updates=1)))
        vision_tower = self.foundation / "export" / "hf"
        return [f"--config={path}", f"--data={self.conversations}", f"--vision_tower={vision_tower}"]

    def recaption(self) -> list[object]:
        """Return the arguments of `recaption run`, but for the folder."""
        model = f"--model={self.captioner / 'export'}"
        return [f"--shards={self.shards}", model, "--max_new_tokens=4", "--batch_size=4", "--device=cpu"]

    def _data(self) -> list[object]:
        return [f"--data.shards={self.shards}", f"--data.sidecars.recaption={self.sidecar}", "--mix.original_share=0.5"]

    def _recaptions(self) -> list[object]:
        return [f"--recaptions.{split}={folder}" for split, folder in self.recaptions.items()]

    def run(self, command: str, *arguments: object) -> None:
        """Run a stage in this process."""
        module, *verb = command.split()
        with mock.patch.object(sys, "argv", [module, *verb, *map(str, arguments)]):
            importlib.import_module(f"{module}.__main__").main()

    def _finish(self, command: str, *arguments: object, output: Path) -> Path:
        self.run(command, *arguments, f"--output_dir={output}")
        return output
