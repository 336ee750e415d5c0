"""A console logger for `fusc run`: the assets' own messages, one short line each, without Dagster's event stream."""

import logging
import sys

import dagster as dg


class _Short(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = (getattr(record, "dagster_meta", None) or {}).get("orig_message") or record.getMessage()
        return f"   {self.formatTime(record, '%H:%M:%S')} {message}"


def _not_an_event(record: logging.LogRecord) -> bool:
    return not (getattr(record, "dagster_meta", None) or {}).get("dagster_event")


def _plain(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("fusc", logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Short())
    handler.addFilter(_not_an_event)
    logger.addHandler(handler)
    return logger


plain = dg.LoggerDefinition(_plain, description="One short line per message of the assets; for people at a terminal.")
