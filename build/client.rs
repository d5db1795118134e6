//! Completes the client: its calls end in the crate's one send loop, and nothing is made that it would undo.

use quote::ToTokens as _;
use syn::parse_quote;

use crate::{Result, names::snake, node::Node, walk};

pub(crate) fn complete(mut client: syn::File, document: &Node<'_>) -> Result<String> {
    // The check that hooks exist; the crate has none.
    client.items.retain(|item| !matches!(item, syn::Item::Const(_)));
    for item in &mut client.items {
        match item {
            // A client with a reqwest client of its own, and an `unwrap`.
            syn::Item::Impl(block) => {
                block.items.retain(|it| !matches!(it, syn::ImplItem::Fn(f) if f.sig.ident == "new"));
            }
            syn::Item::Mod(module) => {
                for item in module.content.iter_mut().flat_map(|(_, items)| items) {
                    *item = keep_the_body(item)?;
                }
                module.content.iter_mut().flat_map(|(_, items)| items).for_each(describe);
                for send in module.content.iter_mut().flat_map(|(_, items)| items).filter_map(send_of) {
                    *send = end_in_the_send_loop(send, document)?;
                }
            }
            _ => {}
        }
    }
    Ok(prettyplease::unparse(&client))
}

/// progenitor turns a complete body back into a builder, and builds it once more to send it. Here it stays what it is.
fn keep_the_body(item: &syn::Item) -> Result<syn::Item> {
    let mut item = item.clone();
    if let syn::Item::Impl(block) = &mut item {
        block.items.retain(|it| !matches!(it, syn::ImplItem::Fn(f) if f.sig.ident == "body_map"));
    }
    let code = item.to_token_stream().to_string();
    let begins = |text: &str| code.split_once(text).and_then(|(_, rest)| rest.split_once(' ')).map(|(name, _)| name);
    let name = match begins("body : Result < types :: builder :: ")
        .or_else(|| begins("where V : std :: convert :: TryInto < types :: "))
    {
        Some(name) if code.contains("body") => name,
        _ => return Ok(item),
    };
    let again = format!(". and_then (| v | types :: {name} :: try_from (v) . map_err (| e | e . to_string ()))");
    let kept = code
        .replace(
            &format!("body : Result < types :: builder :: {name}"),
            &format!("body : Result < Box < types :: {name} >"),
        )
        .replace(
            "body : Ok (:: std :: default :: Default :: default ())",
            "body : Err (\"the body is missing\" . to_owned ())",
        )
        .replace(
            "self . body = value . try_into () . map (From :: from)",
            "self . body = value . try_into () . map (Box :: new)",
        )
        .replace(&again, "");
    match syn::parse_str(&kept) {
        Ok(item) if !kept.contains("builder :: ") && !kept.contains("try_from") => Ok(item),
        _ => Err(format!("progenitor's output keeps the body `{name}` in another way than before")),
    }
}

/// Gives a text to the methods that have none.
fn describe(item: &mut syn::Item) {
    let syn::Item::Impl(block) = item else { return };
    for item in &mut block.items {
        let syn::ImplItem::Fn(method) = item else { continue };
        if method.attrs.iter().any(|it| it.path().is_ident("doc")) {
            continue;
        }
        let text = match method.sig.ident.to_string().as_str() {
            "new" => "The same as the method of the client.".to_owned(),
            "body" => "The body of the request, or a builder of it.".to_owned(),
            parameter => format!("Sets the parameter `{parameter}`."),
        };
        method.attrs.insert(0, parse_quote!(#[doc = #text]));
    }
}

/// The body of `send`, if `item` is the `impl` of an operation's builder.
fn send_of(item: &mut syn::Item) -> Option<&mut syn::Block> {
    let syn::Item::Impl(block) = item else { return None };
    block.items.iter_mut().find_map(|item| match item {
        syn::ImplItem::Fn(function) if function.sig.ident == "send" => Some(&mut function.block),
        _ => None,
    })
}

/// progenitor adds headers that this API has not or that each request gets, calls hooks, copies headers, and
/// decodes strictly. The request as it is built goes to `raw::send` instead.
fn end_in_the_send_loop(block: &syn::Block, document: &Node<'_>) -> Result<syn::Block> {
    let changed = || "progenitor's output sends requests in another way than before".to_owned();
    let text = |statement: &syn::Stmt| statement.to_token_stream().to_string();
    let (request, tail) = block
        .stmts
        .iter()
        .position(|statement| text(statement).starts_with("let info = OperationInfo"))
        .map(|at| block.stmts.split_at(at))
        .ok_or_else(changed)?;
    let tail: String = tail.iter().map(text).collect();
    let (path, item, operation) = operation(&tail, document).ok_or_else(changed)?;
    let id = operation.get("operationId").text().unwrap_or_default();
    let end: syn::Expr = match tail {
        it if it.contains("ResponseValue :: from_response (response)") => parse_quote!(super::super::send::decoded),
        it if it.contains("ResponseValue :: empty (response)") => parse_quote!(super::super::send::empty),
        _ => return Err(changed()),
    };
    let request: String = request.iter().map(text).filter(|it| !it.contains("api-version")).collect();
    let accept = ". header (:: reqwest :: header :: ACCEPT , \
                  :: reqwest :: header :: HeaderValue :: from_static (\"application/json\" ,) ,)";
    let mut request = request.replace(accept, "");
    for (theirs, ours) in [
        ("let mut header_map = :: reqwest :: header :: HeaderMap :: with_capacity (1usize) ;", ""),
        (". headers (header_map)", ""),
        // The base URL is parsed once, not for each request.
        ("let url = format !", "let path = format !"),
        ("client . baseurl ,", "client . inner . base_path () ,"),
        (" (url)", " (client . inner . url (& path))"),
    ] {
        if !request.contains(theirs) {
            return Err(changed());
        }
        request = request.replace(theirs, ours);
    }
    if ["header_map", ":: ACCEPT", ". baseurl"].iter().any(|it| request.contains(it)) {
        return Err(changed());
    }
    // Nothing in a UUID has to be encoded.
    let request = walk::parameters(&item, &operation)?.iter().try_fold(request, |code, parameter| {
        let name = snake(parameter.get("name").text().unwrap_or_default());
        let is_uuid = parameter.get("schema").follow("schemas")?.get("format").value == "uuid";
        let encoded = format!("encode_path (& {name} . to_string ())");
        Ok::<_, String>(if is_uuid { code.replace(&encoded, &name) } else { code })
    })?;
    let request: syn::Block = syn::parse_str(&format!("{{ {request} }}")).map_err(|_| changed())?;
    let request = request.stmts;
    Ok(
        parse_quote!({ #(#request)* #end(&client.inner, request, super::super::send::Operation { id: #id, template: #path }).await }),
    )
}

/// The operation that the end of a `send` names, and where it stands.
fn operation<'a>(tail: &str, document: &Node<'a>) -> Option<(&'a str, Node<'a>, Node<'a>)> {
    let (_, rest) = tail.split_once("operation_id : \"")?;
    let (id, _) = rest.split_once('"')?;
    walk::operation(document, id)
}
