"""What goes along with a label set that is published: a card, and the layout of a repository on a hub."""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.publishing.card import store_card
    from fkd.publishing.hub import write_hub_layout
    from fkd.publishing.inputs import check_repository
else:
    __getattr__, __dir__ = names_of(
        __name__, card="store_card", hub="write_hub_layout", inputs="check_repository"
    )

__all__ = ["check_repository", "store_card", "write_hub_layout"]
