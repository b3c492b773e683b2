from typing import List, Optional, Tuple, final

__all__ = ["Model", "ModelError", "__version__"]

__version__: str

class ModelError(ValueError): ...

@final
class Model:
    @staticmethod
    def read(path: str) -> Model: ...
    @staticmethod
    def of_bytes(bytes: bytes) -> Model: ...
    @property
    def task(self) -> str: ...
    @property
    def labels(self) -> List[str]: ...
    @property
    def tags(self) -> List[str]: ...
    @property
    def sizes(self) -> Tuple[int, int, int]: ...
    def self_test(self) -> None: ...
    def classify(
        self, text: str, pair: Optional[str]
    ) -> Tuple[str, float, List[Tuple[str, float]], int, bool]: ...
    def classify_labels(self, text: str) -> Tuple[List[Tuple[str, float]], int, bool]: ...
    def tag(
        self, text: str
    ) -> Tuple[
        Optional[Tuple[str, float]],
        List[Tuple[int, int, int, str, float]],
        List[Tuple[str, int, int, float]],
        int,
        bool,
    ]: ...
    def regress(self, text: str, pair: Optional[str]) -> Tuple[List[float], int, bool]: ...
    def answer(
        self,
        question: str,
        context: str,
        stride: int,
        max_answer_tokens: int,
        no_answer_threshold: Optional[float],
    ) -> Tuple[List[Tuple[int, int, float, float]], bool, float, float, int]: ...
    def embed(
        self, text: str, normalize: bool, pooling: Optional[str], layer: Optional[int]
    ) -> Tuple[List[float], int, bool]: ...
