"""All panels, in the order of the page."""

from lalora.report.panels.after_training import AfterTrainingPanel
from lalora.report.panels.budgets import BudgetsPanel
from lalora.report.panels.by_data_set import ByDataSetPanel
from lalora.report.panels.calibration import CalibrationPanel
from lalora.report.panels.changes import ChangesPanel
from lalora.report.panels.costs import CostsPanel
from lalora.report.panels.curves import CurvesPanel
from lalora.report.panels.each_seed import EachSeedPanel
from lalora.report.panels.heatmaps import HeatmapsPanel
from lalora.report.panels.multiples import ByMethodPanel, ByValuePanel
from lalora.report.panels.panel import Panel
from lalora.report.panels.prediction import PredictionPanel
from lalora.report.panels.published import PublishedPanel
from lalora.report.panels.reproduce import ReproducePanel
from lalora.report.panels.results import ResultsPanel
from lalora.report.panels.selected_table import SelectedPanel
from lalora.report.panels.selection import SelectionPanel
from lalora.report.panels.settings_table import SettingsPanel
from lalora.report.panels.tradeoff import TradeoffPanel
from lalora.report.panels.validation import ValidationPanel

PANELS: tuple[type[Panel], ...] = (
    TradeoffPanel,
    EachSeedPanel,
    ResultsPanel,
    SettingsPanel,
    BudgetsPanel,
    AfterTrainingPanel,
    PublishedPanel,
    ValidationPanel,
    SelectionPanel,
    SelectedPanel,
    HeatmapsPanel,
    CurvesPanel,
    ByDataSetPanel,
    ByValuePanel,
    ByMethodPanel,
    PredictionPanel,
    CalibrationPanel,
    ChangesPanel,
    CostsPanel,
    ReproducePanel,
)
"""A new panel is a file beside this one, and its line in the tuple."""
