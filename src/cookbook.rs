//! One page for each task, from a first picture to a server that keeps its own record.
//!
//! - Images: [`image`], [`edit`], [`layering`], and [`upload`] for what they refer to.
//! - Videos: [`video`], [`video_edit`], [`hdr`].
//! - More than one: [`many_jobs`], and [`serverless`] for a process that ends before its job.
//! - In production: [`errors`], [`logging`], [`proxies`], [`testing`].
//! - From elsewhere: [`migration`] from the official SDKs, [`tools`] for language models.
//!
//! Every program on these pages compiles, and runs in CI against the emulator.

macro_rules! pages {
    ($($name:ident = $file:literal,)+) => {$(
        #[doc = include_str!(concat!("../docs/cookbook/", $file))]
        pub mod $name {}
    )+};
}

pages! {
    edit = "edit.md",
    errors = "errors.md",
    hdr = "hdr.md",
    image = "image.md",
    layering = "layering.md",
    logging = "logging.md",
    many_jobs = "many_jobs.md",
    migration = "migration.md",
    proxies = "proxies.md",
    serverless = "serverless.md",
    testing = "testing.md",
    tools = "tools.md",
    upload = "upload.md",
    video = "video.md",
    video_edit = "video_edit.md",
}
