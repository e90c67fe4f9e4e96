"""A generative model of single cells: AnnData in, AnnData out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..blackout import BlackoutModel, saved
from ..call.foreign import listed
from ..call.keys import seed_of
from ..data.cells import names_of
from ..ground.json_files import CELLS_FORMAT
from ..ground.named import named
from ..ground.values import check_integer, is_number, shown
from ..philox import Philox
from ..sampling.sampler import sample_in_batches
from ..schedule.schedule import Schedule
from ..training.trained_model import pick_device
from .inputs import Cells, Columns, read
from .metrics import MOST_CELLS, Side, check_comparable, compared, first_seed, prints_of
from .report import mean_of
from .training import (
    CellNetwork,
    Depths,
    Fitted,
    Options,
    annotated,
    begin,
    conditions_of,
    parts_of,
    train,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from ..typing import Grid
    from .report import CellReport


SCHEDULE_STEPS = 1000
GRID: Grid = "cosine"  # with "early" correlations of genes came out weaker: a slope of .95 for .97
MOST_SEED = (1 << 63) - 1
BATCH = 256  # cells that are drawn at once
JITTER = 0.05  # the deviation by which the log of a depth that is drawn is moved
PASSES, FEWEST_STEPS, MOST_STEPS = 60, 500, 20_000  # of a training that is not told how long it is
FOLDS = 10  # in so many parts genes are hidden, each from the others, to say what they let expect
_OPTIONS = (
    "labels_key", "batch_key", "layer", "size_factor_key", "covariates", "genes", "steps", "batch_size",
    "learning_rate", "weight_decay", "width", "blocks", "dropout", "rng",
)  # fmt: skip


class CellModel:
    """A generative model of the counts of genes in single cells.

    ::

        x_0 ~ p(counts of all genes | depth, type, batch, covariates),    depth = sum of a cell's counts over all genes

    It is Blackout Diffusion (https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md) with head
    "negative-binomial". Cells are grown from nothing, count by count. The network is told how deep the cell is to be,
    and of which type. In the training genes are also hidden at random, so that one model generates cells, imputes
    counts and tells what genes let expect of another.

    Parameters
    ----------
    labels_key : str, optional
        The column of obs with the types of the cells.
    batch_key : str, optional
        The column of obs with the batches.
    layer : str, optional
        The layer with the raw counts. By default X has them.
    size_factor_key : str, optional
        The column of obs with the depths, in any unit, such as size factors. By default a cell's depth is the sum of
        all its counts in the AnnData, also of genes that are not selected.
    covariates : sequence of str, optional
        Columns of obs with numbers that the counts may depend on.
    genes : str or sequence of str, optional
        The genes to model, by name; or a column of booleans of var, such as "highly_variable". By default all.
    steps : int, optional
        The length of the training. By default 60 passes over the cells, but 500 steps at least and 20,000 at most.
    batch_size : int, default 128
        The cells of a step.
    learning_rate : float, default 0.002
        The largest step size of AdamW; it rises over 100 steps and then falls to 0 along a cosine.
    weight_decay : float, default 0.1
        The weight decay of AdamW.
    width : int, default 256
        The width of the network.
    blocks : int, default 2
        Its residual blocks.
    dropout : float, default 0.3
        The share of values that a block drops in training.
    rng : Philox or int, default 0
        The key of the weights and of the training, or its seed.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "cuda:N".

    Attributes
    ----------
    model_ : BlackoutModel
        The fitted model.
    history_ : list of dict
        The step, the mean training loss since the entry before, and the loss of held-out cells, in nats a count.
    genes_ : tuple of str
        The names of the genes, in the order of what is returned.
    classes_ : tuple of str
        The names of the types; () without `labels_key`.
    batches_ : tuple of str
        The names of the batches; () without `batch_key`.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The training thins half of the cells, to a share of 1/2 or more of their counts, and tells the network the depth
    that they then have. It sets a tenth of the cells aside, but not the last cell of a type or a batch, and ends with
    the weights that had the least loss there. It stops when that loss has not fallen eight times in a row; it is taken
    20 times in a whole training.

    Examples
    --------
    >>> import anndata
    >>> counts = np.random.default_rng(0).poisson([[2.0, 9.0, 1.0], [8.0, 1.0, 1.0]] * 50)
    >>> cells = anndata.AnnData(counts.astype(np.float32), obs={"type": ["T", "B"] * 50})
    >>> model = fb.cells.CellModel(labels_key="type", steps=20).fit(cells, progress=False)
    >>> new = model.sample(5, label="B", rng=1)
    >>> new.shape, new.obs["type"].tolist()
    ((5, 3), ['B', 'B', 'B', 'B', 'B'])
    """

    @named
    def __init__(
        self, labels_key: str | None = None, batch_key: str | None = None, layer: str | None = None,
        size_factor_key: str | None = None, covariates: Sequence[str] = (), *, genes: str | Sequence[str] | None = None,
        steps: int | None = None, batch_size: int = 128, learning_rate: float = 2e-3, weight_decay: float = 0.1,
        width: int = 256, blocks: int = 2, dropout: float = 0.3, rng: Philox | int = 0, device: str = "auto",
    ) -> None:  # fmt: skip
        op = "CellModel"
        keys = {"labels_key": labels_key, "batch_key": batch_key, "layer": layer, "size_factor_key": size_factor_key}
        for name, key in keys.items():
            if key is not None and not isinstance(key, str):
                raise TypeError(f"{op}: {name}: must be a name or None, got {type(key).__name__}")
        if isinstance(covariates, str) or not isinstance(covariates, Iterable):
            raise TypeError(f"{op}: covariates: must be a sequence of names, got {covariates!r}")
        self.covariates = tuple(covariates)
        if wrong := [each for each in self.covariates if not isinstance(each, str)]:
            raise TypeError(f"{op}: covariates: must be a sequence of names, got {wrong[0]!r} in it")
        steps = None if steps is None else check_integer(op, "steps", steps, 1, 1 << 31)
        self.batch_size = check_integer(op, "batch_size", batch_size, 1, 1 << 20)
        self.width = check_integer(op, "width", width, 1, 1 << 20)
        self.blocks = check_integer(op, "blocks", blocks, 1, 1 << 20)
        self.rng = seed_of(op, rng, MOST_SEED)
        if not is_number(learning_rate) or not 0 < learning_rate <= 1:
            raise ValueError(f"{op}: learning_rate: must be a number in (0, 1], got {learning_rate!r}")
        if not is_number(weight_decay) or not 0 <= weight_decay <= 1e3:
            raise ValueError(f"{op}: weight_decay: must be a number in [0, 1000], got {weight_decay!r}")
        if not is_number(dropout) or not 0 <= dropout < 1:
            raise ValueError(f"{op}: dropout: must be a number in [0, 1), got {dropout!r}")
        self.labels_key, self.batch_key, self.layer, self.size_factor_key = (
            labels_key,
            batch_key,
            layer,
            size_factor_key,
        )
        if isinstance(genes, Iterable) and not isinstance(genes, str):
            genes = list(genes)
            if any(isinstance(each, (bool, np.bool_)) for each in genes):
                raise TypeError(f"{op}: genes: must be names, or the name of a column of booleans of var, got booleans")
        self.genes = genes if isinstance(genes, str) else names_of(op, "genes", genes)
        self.steps, self.dropout, self.device = steps, float(dropout), device
        self.learning_rate, self.weight_decay = float(learning_rate), float(weight_decay)
        self._fitted: Fitted | None = None

    def __repr__(self) -> str:
        if self._fitted is None:
            return "CellModel(not fitted)"
        of = f", {len(self.classes_)} types" if self.classes_ else ""
        of += f", {len(self.batches_)} batches" if self.batches_ else ""
        return f"CellModel({len(self.genes_)} genes{of}, fitted to {len(self._fitted.known)} cells)"

    def fit(self, adata: AnnData | str | os.PathLike[str], progress: bool = True) -> Self:
        """Train the model.

        Parameters
        ----------
        adata : AnnData, str or os.PathLike
            The cells, with raw counts, dense or sparse; or the path of an .h5ad file or a .zarr store. Only the
            cells of a batch are made dense.
        progress : bool, default True
            Show a bar, with the time left.

        Returns
        -------
        CellModel
            The model itself.

        Raises
        ------
        TypeError
            If `adata` is no AnnData.
        ValueError
            If the counts are not whole, or a layer, a column or a gene is not there.
        FloatingPointError
            If the loss is no longer finite.
        """
        op = "CellModel.fit"
        named = [each for each in (self.labels_key, self.batch_key, *self.covariates) if each is not None]
        named.append(self.size_factor_key or "depth")
        if len(set(named)) < len(named):  # of obs of new cells, which would overwrite one another
            rule = "types, batches, covariates and depths ('depth' without size_factor_key) must be columns that differ"
            raise ValueError(f"{op}: columns of obs: {rule}, got {max(named, key=named.count)!r} twice")
        device = pick_device(self.device)
        keys = (self.labels_key, self.batch_key, self.layer, self.size_factor_key, self.covariates)
        cells, columns = read(op, adata, Columns(*keys), self.genes)
        if (count := len(cells.log_depth)) < 2:
            raise ValueError(f"{op}: adata: must have at least two cells, got {count}")
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.rng)
            types = len(columns.classes) or None
            how = (self.width, self.blocks, self.dropout, SCHEDULE_STEPS)
            network = CellNetwork(len(columns.genes), types, columns.conditions, *how)
            schedule = Schedule.cosine(SCHEDULE_STEPS)
            model = BlackoutModel(network, schedule, None, input="log1p", head="negative-binomial")
            depths = begin(model, network, cells, types or 1)
            steps = self.steps or min(max(FEWEST_STEPS, PASSES * count // self.batch_size), MOST_STEPS)
            told = Options(steps, min(self.batch_size, count), self.learning_rate, self.weight_decay, self.rng, device)
            by_genes = None if self.size_factor_key else Depths(*(each.to(device) for each in depths))
            self.history_ = train(model.to(device), by_genes, cells, columns.batch_of(cells.known), told, progress)
        prints = torch.from_numpy(prints_of(cells.matrix))
        self._take(Fitted(model, columns, by_genes, cells.labels, cells.log_depth, cells.known, prints))
        return self

    def _take(self, fitted: Fitted) -> None:
        self._fitted, columns = fitted, fitted.columns
        self.model_, self.genes_ = fitted.model, columns.genes
        self.classes_, self.batches_ = columns.classes, columns.batches

    @named
    def sample(
        self, n: int, label: str | Sequence[str] | None = None, depth: float | Sequence[float] | None = None,
        batch: str | Sequence[str] | None = None, covariates: Mapping[str, float | Sequence[float]] | None = None,
        steps: int = 100, rng: Philox | int = 0,
    ) -> AnnData:  # fmt: skip
        """Draw new cells.

        Parameters
        ----------
        n : int
            How many.
        label : str or sequence of str, optional
            Their type, or the type of each, such as a column of obs. By default types are as frequent as among the
            training cells.
        depth : float or sequence of float, optional
            The depth that they are to have, or the depth of each: in counts of all genes, or in the unit of the
            `size_factor_key`. By default depths are drawn from those of training cells of the type and the batch.
        batch : str or sequence of str, optional
            Their batch, or the batch of each. By default batches are as frequent as among the training cells of the
            type.
        covariates : mapping of str to float or sequence of float, optional
            Values of covariates by name, such as ``{"age": 60}``, each for all cells or with one number for each. Other
            covariates have the values of training cells.
        steps : int, default 100
            The steps of the reverse process. With 20 correlations of genes come out weaker.
        rng : Philox or int, default 0
            The key of all that is drawn, or its seed.

        Returns
        -------
        AnnData
            Integer counts in X, int32 in CSR format. obs has type, batch and covariates under the names of the
            training, and the depth that each cell was to have, as "depth" or under the
            `size_factor_key`.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range, or the model is not fitted.

        Notes
        -----
        What is not asked for, batch, covariates and depth, is taken together from one training cell, drawn at random.
        The log of its depth is moved by a normal number of deviation 0.05. A cell's counts sum up to about its depth,
        not exactly. Where genes are selected, they sum up to the share of the depth that these genes have. The model
        has learned nothing of covariates whose values are far from the ones of the training cells.
        """
        op = "CellModel.sample"
        fitted, n = self._ready(op), check_integer(op, "n", n, 1, 1 << 31)
        seed = seed_of(op, rng, MOST_SEED)
        place = fitted.drawn_like(op, n, label, batch, seed)
        log_depth = fitted.log_depth[place] + JITTER * torch.from_numpy(
            np.random.default_rng((seed, 1)).normal(size=(n, 1))
        )
        if depth is not None:
            log_depth = logs_of(op, depth, n)
        labels, known = None if fitted.labels is None else fitted.labels[place], fitted.known[place]
        if covariates is not None:
            known = with_covariates(op, fitted.columns, known, covariates)
        return self._draw(op, labels, log_depth.float(), known, steps, seed)

    def _draw(self, op: str, labels: Tensor | None, log_depth: Tensor, known: Tensor, steps: int, seed: int) -> AnnData:
        fitted = self._ready(op)
        conditions, genes = torch.cat((log_depth, known), 1), len(fitted.columns.genes)
        steps = check_integer(op, "steps", steps, 1, SCHEDULE_STEPS)
        parts = sample_in_batches(
            fitted.model, fitted.model.schedule, (len(known), genes, 1, 1), BATCH, Philox(seed), labels, steps,
            grid=GRID, conditions=conditions,
        )  # fmt: skip
        from scipy.sparse import csr_matrix, vstack

        counts = vstack([csr_matrix(part.flatten(1).cpu().numpy()) for part in parts], format="csr")
        return annotated(op, counts, fitted.columns, labels, log_depth, known)

    @named
    def impute(
        self, adata: AnnData | str | os.PathLike[str], observed: Any, draws: int | None = None, steps: int = 100,
        rng: Philox | int = 0,
    ) -> NDArray[Any]:  # fmt: skip
        """Fill in counts that were not observed: their mean given the others, or draws of them.

        Parameters
        ----------
        adata : AnnData, str or os.PathLike
            The cells, with the columns of the training. Counts that were not observed may be any whole numbers.
        observed : array of bool
            True where a count was observed: with the genes of `adata`, (N, adata.n_vars), or with those that are
            returned, (N, genes); or what broadcasts to either.
        draws : int, optional
            None for the mean, a number for so many draws of all counts, which come together as a cell's do.
        steps : int, default 100
            The steps of a draw.
        rng : Philox or int, default 0
            The key of the draws, or its seed.

        Returns
        -------
        numpy.ndarray
            The mean, float32 (N, genes), in which observed counts stand as they are; or draws, int32 (draws, N, genes).
            Genes have the order of `adata` where it has those of the model alone, else of `genes_`.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range, or the model is not fitted.

        Notes
        -----
        The depth of a cell of which not all is known is the one that its observed counts let expect, beside what depths
        its type has, unless the model has a `size_factor_key`. The mean is that of the network's law, with nothing
        drawn. So counts that were not observed change nothing.
        """
        op = "CellModel.impute"
        fitted = self._ready(op)
        cells, _ = read(op, adata, fitted.columns, hidden=True)
        shape = (len(cells.known), len(fitted.columns.genes))
        seen = flags_of(op, observed, cells)
        draws = None if draws is None else check_integer(op, "draws", draws, 1, 1 << 20)
        seed = seed_of(op, rng, MOST_SEED)
        steps = check_integer(op, "steps", steps, 1, SCHEDULE_STEPS)
        result = np.empty(shape, np.float32) if draws is None else np.empty((draws, *shape), np.int32)
        for rows in parts_of(*shape):
            x, labels, log_depth, known = cells.rows(rows, fitted.device)
            here = torch.from_numpy(seen[rows].copy()).to(fitted.device)
            depth = log_depth if fitted.depths is None else fitted.depths
            told = conditions_of(fitted.model, x, here, labels, known, depth)
            if draws is None:
                mean = fitted.law(told, labels)[0]
                result[rows] = torch.where(here, x.flatten(1), mean).float().cpu().numpy()
                continue
            for n in range(draws):
                key = Philox(seed, first_sample=n * shape[0] + rows.start)
                drawn = fitted.model.sample(
                    tuple(x.shape), steps, rng=key, labels=labels, grid=GRID, conditions=told
                ).flatten(1)
                result[n, rows] = torch.where(here, x.flatten(1), drawn).cpu().numpy()
        return cells.as_given(result)

    def expected(
        self, adata: AnnData | str | os.PathLike[str], depth: float | None = None, batch: str | None = None
    ) -> NDArray[np.float32]:
        """The expression of each gene without the noise of counting: its rate given all counts of the cell.

        ::

            rate_g = (r + x_g) m / (r + m),    the mean of Gamma(r) m / r given x_g ~ Poisson(rate_g)
            in another batch:  rate_g m_g(other batch) / m_g(own batch),   m_g(batch) = E[x_g | depth, type, batch]

        Parameters
        ----------
        adata : AnnData, str or os.PathLike
            The cells, with the columns of the training.
        depth : float, optional
            The depth to which all rates are scaled, such as 1e4: in counts of all genes, or in the unit of the
            `size_factor_key`. By default each cell keeps its own depth.
        batch : str, optional
            The batch in which all rates are to be, as `transform_batch` of scvi-tools. By default each cell's own.

        Returns
        -------
        numpy.ndarray
            float32 (N, genes), in the order of `adata` where it has the genes of the model alone, else of `genes_`.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range, or the model is not fitted.

        Notes
        -----
        m and r are mean and size of the gene's law given other genes and the depth. They are found in ten parts: a
        tenth of the genes is hidden from the network, which sees the rest.

        In another batch each rate is scaled as the mean of its gene is, among cells of the same type, depth and
        covariates. What makes a cell differ from these stays. Without a `labels_key` the ratio is of all cells of the
        batches, so that it also has what comes of other types there. A type that the batch has no cells of is guessed.
        """
        op = "CellModel.expected"
        fitted = self._ready(op)
        scale = None if depth is None else torch.exp(logs_of(op, depth, 1))[0].to(fitted.device)
        cells, _ = read(op, adata, fitted.columns)
        count, genes = len(cells.log_depth), len(fitted.columns.genes)
        rates = np.empty((count, genes), np.float32)
        fold = torch.arange(genes, device=fitted.device) % FOLDS
        selected = fitted.depths if genes < fitted.columns.all_genes else None  # of all genes the sum is the depth
        if batch is not None:
            other = in_batch(op, fitted.columns, cells.known, batch)
        for rows in parts_of(count, genes):
            x, labels, log_depth, known = cells.rows(rows, fitted.device)
            total = torch.zeros(x.flatten(1).shape, device=fitted.device)
            for n in range(min(FOLDS, genes)):
                hidden = (fold == n).expand(total.shape)
                told = conditions_of(fitted.model, x, ~hidden, labels, known, selected or log_depth)
                mean, size = fitted.law(told, labels)
                total = torch.where(hidden, ((size + x.flatten(1)) * mean / (size + mean)).float(), total)
            if batch is not None:
                means = (fitted.law(torch.cat((log_depth, of), 1), labels)[0] for of in (other[rows].to(known), known))
                total = (total * torch.div(*means)).float()
            if scale is not None:
                total = total * (scale / torch.exp(log_depth))
            rates[rows] = total.cpu().numpy()
        return cells.as_given(rates)

    @named
    def evaluate(
        self, adata: AnnData | str | os.PathLike[str], train: AnnData | str | os.PathLike[str] | None = None,
        steps: int = 100, rng: Philox | int = 0, seeds: int = 1,
    ) -> CellReport:  # fmt: skip
        """Compare generated cells with real ones that the training did not see.

        Parameters
        ----------
        adata : AnnData, str or os.PathLike
            The real cells, with the columns of the training.
        train : AnnData, str or os.PathLike, optional
            The training cells: the report then says what real cells have in place of generated ones, and how near
            generated cells are to those of the training.
        steps : int, default 100
            The steps of the reverse process.
        rng : Philox or int, default 0
            The key of what is drawn, or its seed.
        seeds : int, default 1
            Draw so many sets of cells, by the seeds rng, rng + 1, ...: the numbers are means then, with intervals.

        Returns
        -------
        CellReport
            The table, and plots; see `fb.cells.compare`.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range, or the model is not fitted.

        Notes
        -----
        Of `adata` 1,000 cells are compared at most, which each seed chooses. As many are drawn, of the same types,
        batches and covariates. Their depths are drawn from training cells of the type and the batch, or of the type
        where the training has no cell of both. Energy distances and correlations with `train` and without it are not
        the same estimates. Real cells with the counts of a training cell are told, also without `train`: a copy of the
        training says nothing.
        """
        op = "CellModel.evaluate"
        fitted = self._ready(op)
        seed = first_seed(op, rng, seeds)
        cells, _ = read(op, adata, fitted.columns)
        known = None if train is None else read(op, train, fitted.columns)[0]
        check_comparable(op, len(fitted.columns.genes), {"adata": cells, "train": known})
        columns, key = fitted.columns, self.labels_key
        trained = None if known is None else Side(op, "train", annotated(op, known.matrix, columns, *known[1:4]), key)
        reports = []
        for own in range(seed, seed + seeds):
            rows = np.sort(np.random.default_rng((own, 2)).permutation(len(cells.known))[:MOST_CELLS])
            labels, told = None if cells.labels is None else cells.labels[rows], cells.known[rows]
            log_depth = fitted.log_depth[fitted.like(op, labels, told, own)]
            new = Side(op, "model", self._draw(op, labels, log_depth, told, steps, own), key)
            real = annotated(op, cells.matrix[rows], columns, labels, cells.log_depth[rows], told)
            reports.append(compared(new, Side(op, "adata", real, key), trained, key, own))
        report = mean_of(reports)
        seen = None if trained is None else prints_of(trained.matrix)
        if fitted.prints is not None:
            seen = fitted.prints.numpy()
        if seen is not None:
            report.facts["seen"] = int(np.isin(prints_of(cells.matrix), seen).sum())
        return report

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model to a folder: config.json and model.safetensors.

        Parameters
        ----------
        folder : str or os.PathLike
            The folder, which is made where there is none. What it holds of an earlier model is replaced.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        OSError
            If it cannot be written.
        ValueError
            If the model is not fitted.

        Notes
        -----
        The files hold the types, batches, covariates and depths of the training cells, from which `sample` draws. They
        hold no counts, but a number of each training cell by which `evaluate` knows the same counts again.
        """
        op = "CellModel.save"
        fitted = self._ready(op)
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"{op}: folder: must be a path, got {type(folder).__name__}")
        told = {name: getattr(self, name) for name in _OPTIONS}
        told["seed"] = told.pop("rng")
        config = {
            "options": told, "columns": fitted.columns.to_dict(), "history": self.history_,
            "model": fitted.model.to_config(),
        }  # fmt: skip
        return saved.write(Path(folder), config, {**fitted.model.weights(), **fitted.tensors()}, CELLS_FORMAT)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto") -> CellModel:
        """Read a model that `save` wrote.

        Parameters
        ----------
        folder : str or os.PathLike
            The folder.
        device : str, default "auto"
            "auto", "cpu", "cuda" or "cuda:N".

        Returns
        -------
        CellModel
            The fitted model.

        Raises
        ------
        ValueError
            If a file is missing, damaged or foreign.
        """
        op = "CellModel.load"
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"{op}: folder: must be a path, got {type(folder).__name__}")
        place = pick_device(device)
        config, tensors = saved.read(folder, op, CELLS_FORMAT)
        try:
            options = {**config["options"], "device": device}
            model = cls(rng=options.pop("seed"), **options)
            model.history_ = list(config["history"])
            model._take(Fitted.of(config, tensors, place))
        except saved.DAMAGE as error:
            raise saved.unfit(folder, error, op) from None
        return model

    def _ready(self, op: str) -> Fitted:
        if self._fitted is None:
            raise ValueError(f"{op}: model: must be fitted, call fit first, got one that is not")
        return self._fitted


def logs_of(op: str, depth: Any, count: int) -> Tensor:
    """The logs (count, 1) of depths, one for all or one for each."""
    values = _numbers(op, "depth", depth, count)
    if not ((values > 0) & np.isfinite(values)).all():
        raise ValueError(f"{op}: depth: must be above 0 and finite, got {shown(depth)}")
    return torch.from_numpy(np.log(values))[:, None].float()


def with_covariates(op: str, columns: Columns, known: Tensor, covariates: Any) -> Tensor:
    """Conditions `known` (N, conditions) with values of covariates in place of those that they have."""
    if not isinstance(covariates, Mapping):
        rule = "must be a mapping of names to numbers"
        raise TypeError(f"{op}: covariates: {rule}, got {type(covariates).__name__}")
    known = known.clone()
    for name, value in covariates.items():
        if name not in columns.covariates:
            there = listed(columns.covariates) if columns.covariates else "none, for a model without covariates"
            raise ValueError(f"{op}: covariates: names must be among {there}, got {name!r}")
        place = columns.covariates.index(name)
        values = _numbers(op, f"covariates: {name}", value, len(known))
        own = torch.from_numpy((values - columns.centers[place]) / columns.spreads[place]).float()
        if not own.isfinite().all():
            raise ValueError(f"{op}: covariates: {name}: must be finite in float32, got {shown(value)}")
        known[:, len(columns.batches) + place] = own
    return known


def in_batch(op: str, columns: Columns, known: Tensor, batch: Any) -> Tensor:
    """Conditions `known` (N, conditions) with another batch."""
    if not columns.batches or str(batch) not in columns.batches:
        there = listed(columns.batches) if columns.batches else "None, for a model without batch_key"
        raise ValueError(f"{op}: batch: must be one of {there}, got {batch!r}")
    known = known.clone()
    known[:, : len(columns.batches)] = 0
    known[:, columns.batches.index(str(batch))] = 1
    return known


def flags_of(op: str, observed: Any, cells: Cells) -> NDArray[np.bool_]:
    """Which counts are known, with the genes in the order of the model."""
    if hasattr(observed, "columns"):
        rule = "must be an array of bools in the order of the genes"
        raise TypeError(f"{op}: observed: {rule} (.to_numpy() makes one), got {type(observed).__name__}")
    flags = np.asarray(observed)
    if flags.dtype != np.bool_:
        raise TypeError(f"{op}: observed: must be an array of bools, got {flags.dtype}")
    count, own = len(cells.known), len(cells.order)
    for genes, order in ((cells.genes, cells.order), (own, slice(None))):
        with contextlib.suppress(ValueError):
            return np.broadcast_to(flags, (count, genes))[:, order]
    shapes = f"({count}, {own})" if own == cells.genes else f"({count}, {cells.genes}) or ({count}, {own})"
    raise ValueError(f"{op}: observed: must have the shape {shapes}, or broadcast to it, got {flags.shape}")


def _numbers(op: str, name: str, value: Any, count: int) -> NDArray[np.float64]:
    """Numbers (count,), one for all or one for each."""
    with contextlib.suppress(ValueError):  # of lists of several lengths
        values = np.asarray(value)
        if values.dtype.kind in "iuf" and values.shape in ((), (count,)):
            return np.broadcast_to(values, count).astype(np.float64)
    raise TypeError(f"{op}: {name}: must be a number or {count} numbers, got {shown(value)}")
