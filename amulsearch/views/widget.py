"""What the widgets share: their script and style, and messages in both directions.

What is seen is front.js, built from web/src by `npm ci && npm run build` in web/. It sends messages {"do": ...}, whose
other values are the arguments of the method of this name, and receives {"say": ...}; pictures are sent as buffers.
"""

import traceback
from collections.abc import Callable
from pathlib import Path

from ..errors import AmulsearchError, import_optional

anywidget = import_optional("anywidget", "anywidget")
traitlets = import_optional("traitlets", "anywidget")

HERE = Path(__file__).parent


class Widget(anywidget.AnyWidget):
    """A widget that answers the messages of its views, and says what goes wrong."""

    _esm = (HERE / "front.js").read_text(encoding="utf-8")
    _css = (HERE / "front.css").read_text(encoding="utf-8")

    face = traitlets.Unicode().tag(sync=True)
    """Which part of the script shows it: explorer or jury."""

    def __init__(self, face: str):
        super().__init__(face=face)
        self._view = None  # which of the views of this widget sent the last message
        self.on_msg(self._receive)

    def _receive(self, _, message: dict, buffers: list) -> None:
        arguments = {name: value for name, value in message.items() if name not in ("do", "view")}
        if buffers:
            arguments["content"] = bytes(buffers[0])
        self._view = message.get("view")
        self._guard(lambda: getattr(self, f"_do_{message['do']}")(**arguments))

    def _guard(self, work: Callable[[], None]) -> None:
        """Do something, and say what goes wrong."""
        try:
            work()
        except AmulsearchError as error:
            self.send({"say": "error", "text": str(error)})
        except Exception as error:  # an error in this program must not leave the widget waiting
            traceback.print_exc()
            self.send({"say": "error", "text": f"something went wrong: {type(error).__name__}: {error}"})
