//! One page for each task, from a first picture to a program that keeps its own record of payments.
//!
//! - Images: [`image`], [`edit`], [`layering`], and [`upload`] for the files that requests refer to.
//! - Videos: [`video`], [`video_edit`], [`hdr`].
//! - More than one: [`many_jobs`], and [`serverless`] for a process that ends before its job.
//! - In production: [`errors`], [`logging`], [`proxies`], [`testing`].
//! - From elsewhere: [`migration`] from the official SDKs, [`tools`] for language models.
//!
//! The pages show the body of an `async` function that returns [`luma_agents::Result`](crate::Result). In each, `luma` is a
//! [`Client`](crate::Client), such as that of [`Client::from_env`](crate::Client::from_env). Every program compiles, and runs
//! in CI on the emulator.

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
