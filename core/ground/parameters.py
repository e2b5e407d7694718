"""What training demands of a collection, in one place for those that accept a job and the trainer that does it."""

LEAST_IMAGES = 16


def unmet(images: int, neighbours: int) -> str | None:
    """Why a number of distinct images is too small for training with so many neighbours, or ``None`` where it is not."""
    if images < LEAST_IMAGES:
        return f"{images} images are too few to learn from; at least {LEAST_IMAGES} distinct images are needed"
    if neighbours >= images:
        return f"neighbours: {neighbours} is not below the number of images, {images}"
    return None
