//! Completes the client.

pub(crate) fn complete(client: syn::File) -> String {
    prettyplease::unparse(&client)
}
