"""`evaluate.slices:` the parts of the test split that are scored by themselves."""

from pydantic import Field, field_validator

from tuneline.params.section import Section


class Slices(Section):
    """Parts of the test split, each with a score and an interval of its own, in the first metric of the task."""

    length_groups: int = Field(4, ge=0, le=20)
    """Groups of like size by the length of the input, in characters. 0 makes none."""
    labels: bool = True
    """One slice for each gold label, where the task has labels: of tags, the rows that hold an entity of the type."""
    columns: list[str] = Field([])
    """Columns whose values are a slice each: the task's, or those of data.keep."""
    most_values: int = Field(20, ge=1, le=1000)
    """Values of a column that are a slice of their own: the most frequent ones. The rest is one slice."""
    where: dict[str, str] = Field({})
    """Slices of your own: a name, and a condition in SQL (DuckDB) over the columns of a row, as in
    {questions: "text like '%?'", short in Germany: "length(text) < 40 and country = 'DE'"}."""
    fewest_rows: int = Field(50, ge=1)
    """Slices with fewer rows are marked as too small to judge."""

    @field_validator("where")
    @classmethod
    def _names_are_no_others(cls, where: dict[str, str]) -> dict[str, str]:
        """The other slices are named with a colon, as in `label: positive`."""
        strange = [name for name in where if ":" in name or not name.strip()]
        if strange:
            raise ValueError(f"expected names without a colon, found {', '.join(map(repr, strange))}")
        return where
