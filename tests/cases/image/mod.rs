//! The image: what is in it, what its bill of materials says, and that it runs with nothing else in its root.

use std::sync::LazyLock;

use sakidori_tests::image::Image;

mod bill;
mod content;
mod running;

/// It is built once: cold, that takes many minutes.
pub fn image() -> &'static Image {
    static IMAGE: LazyLock<Result<Image, String>> =
        LazyLock::new(|| Image::build().map_err(|error| format!("{error:#}")));
    match &*IMAGE {
        Ok(image) => image,
        Err(error) => panic!("there is no image: {error}"),
    }
}
