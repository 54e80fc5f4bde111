"""The one error tree of framewatch. A leaf's class tells the caller what to do.

    FramewatchError
    ├── UsageError              the person must change a command, a file or a setting: exit code 2
    │   ├── SettingsError           a setting or an option has a wrong value
    │   ├── CameraNotFoundError     no camera of that name; lists the known ones
    │   ├── SourceError             a URL or file that can never be read as given: do not retry
    │   ├── ModelNotFoundError      unknown name; lists the known ones
    │   ├── WeightsError            a weights file that is damaged, unsafe or of another architecture
    │   └── QueryError              a filter or SQL statement that cannot be run as given
    ├── SourceLostError         a source that worked, or may work later: reconnect with back-off
    │   └── SourceRefusedError      it refused the user or password: wait long, cameras lock accounts
    ├── LeaseLostError          another ingest process reads this camera by now: stop reading it
    ├── QueueUnavailableError   Redis cannot be reached: back off and try again
    │   └── QueueRefusedError       it refused the user or password: the same once it was opened, else exit
    ├── DatabaseUnavailableError    SQL cannot be reached: stop claiming, back off and try again
    ├── EvidenceUnavailableError    a picture cannot be written, read or removed: count it and go on
    ├── CorruptFrameError       this one frame cannot be decoded: count it and drop it
    ├── InferenceError          this batch failed on the device: retry its frames one by one
    └── DeviceLostError         the device fails whatever it is given: give the frames back and exit

A message says what was expected, what was got and what to do, in one line.
"""


class FramewatchError(Exception):
    """Base of every error that framewatch raises on purpose."""


class UsageError(FramewatchError):
    """A person must change a command, a file or a setting (exit code 2)."""


class SettingsError(UsageError):
    """A setting or an option has a value that cannot work."""


class CameraNotFoundError(UsageError):
    """No camera has that name."""


class SourceError(UsageError):
    """A URL or a file that can never be read as it is given; retrying is useless."""


class ModelNotFoundError(UsageError):
    """No model, backbone or weights entry has that name."""


class WeightsError(UsageError):
    """A weights file that is damaged, unsafe to read, or made for another network."""


class QueryError(UsageError):
    """A filter or a SQL statement that cannot be run as it is given."""


class SourceLostError(FramewatchError):
    """A source stopped delivering, or did not answer; reconnect with back-off."""


class SourceRefusedError(SourceLostError):
    """A source refused the user or password; wait the longest time, as cameras lock accounts."""


class LeaseLostError(FramewatchError):
    """Another ingest process has the camera's lease; stop reading it, and publish nothing more."""


class QueueUnavailableError(FramewatchError):
    """Redis cannot be reached or is still loading; back off and try again."""


class QueueRefusedError(QueueUnavailableError):
    """Redis refused the user or password: wrong ones where it never took them, else to be waited for."""


class DatabaseUnavailableError(FramewatchError):
    """The SQL database cannot be reached; stop claiming frames, back off and try again."""


class EvidenceUnavailableError(FramewatchError):
    """A picture of evidence cannot be written, read or removed; detection goes on without it."""


class CorruptFrameError(FramewatchError):
    """The bytes of one frame are not a picture; count the frame and drop it."""


class InferenceError(FramewatchError):
    """A batch failed on the device."""


class DeviceLostError(FramewatchError):
    """The device fails on any batch; give the frames back and exit, another worker may do better."""
