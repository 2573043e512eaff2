//! The `products.v1.Products` service. Its one argument, if any, is the address to listen on, which it prints; it ends with
//! its input.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, stdin};
use tollgate_grpc::products::products_server::{Products, ProductsServer};
use tollgate_grpc::products::{
    CreateProductRequest, GetProductRequest, InspectRequest, Inspection, ListProductsRequest, Metadata, Product,
    RemoveProductRequest,
};
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

struct Catalogue {
    products: Mutex<BTreeMap<String, Product>>,
}

impl Catalogue {
    fn new() -> Self {
        let product = |(id, name, price): (&str, &str, i64)| Product {
            id: id.to_owned(),
            name: name.to_owned(),
            price,
        };
        let products = [
            ("1", "toll", 250),
            ("2", "barrier", 99_900),
            ("3", "Häuschen", 1_500_000),
        ]
        .map(product);
        Self {
            products: Mutex::new(
                products
                    .into_iter()
                    .map(|product| (product.id.clone(), product))
                    .collect(),
            ),
        }
    }

    fn products(&self) -> MutexGuard<'_, BTreeMap<String, Product>> {
        self.products.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl Products for Catalogue {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        let id = request.into_inner().id;
        let product = self.products().get(&id).cloned();
        product.map(Response::new).ok_or_else(|| unknown(&id))
    }

    type ListProductsStream = tokio_stream::Iter<std::vec::IntoIter<Result<Product, Status>>>;

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<Self::ListProductsStream>, Status> {
        let ListProductsRequest { after, status } = request.into_inner();
        let products = self.products();
        if !after.is_empty() && !products.contains_key(&after) {
            return Err(unknown(&after));
        }
        let listed = products.range::<String, _>((Bound::Excluded(&after), Bound::Unbounded));
        let mut messages: Vec<_> = listed.map(|(_, product)| Ok(product.clone())).collect();
        if status != 0 {
            let mut metadata = MetadataMap::new();
            metadata.insert("x-listed", MetadataValue::from(messages.len()));
            let code = Code::from_i32(status);
            messages.push(Err(Status::with_metadata(code, "as asked for", metadata)));
        }
        Ok(Response::new(tokio_stream::iter(messages)))
    }

    async fn create_product(&self, request: Request<CreateProductRequest>) -> Result<Response<Product>, Status> {
        let product = request.into_inner().product.unwrap_or_default();
        if product.id.is_empty() || product.name.is_empty() {
            return Err(Status::invalid_argument("a product has an id and a name"));
        }
        let mut products = self.products();
        if products.contains_key(&product.id) {
            return Err(Status::already_exists(format!("\"{}\" is taken", product.id)));
        }
        products.insert(product.id.clone(), product.clone());
        Ok(Response::new(product))
    }

    async fn remove_product(&self, request: Request<RemoveProductRequest>) -> Result<Response<Product>, Status> {
        let id = request.into_inner().id;
        let removed = self.products().remove(&id);
        removed.map(Response::new).ok_or_else(|| unknown(&id))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<Inspection>, Status> {
        let metadata = request.metadata().iter().map(|entry| match entry {
            KeyAndValueRef::Ascii(name, value) => Metadata {
                name: name.to_string(),
                value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            },
            KeyAndValueRef::Binary(name, value) => Metadata {
                name: name.to_string(),
                value: format!("{value:?}"),
            },
        });
        let metadata = metadata.collect();
        match request.into_inner() {
            InspectRequest { status: 0, .. } => Ok(Response::new(Inspection { metadata })),
            InspectRequest { status, message } => Err(Status::new(Code::from_i32(status), message)),
        }
    }
}

fn unknown(id: &str) -> Status {
    Status::not_found(format!("no product is called \"{id}\""))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = match std::env::args().nth(1) {
        Some(address) => address.parse()?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
    println!("listening on {}", incoming.local_addr()?);
    let ended = async {
        let mut input = stdin();
        let mut bytes = [0; 64];
        while input.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        served = tonic::transport::Server::builder()
            .add_service(ProductsServer::new(Catalogue::new()))
            .serve_with_incoming(incoming) => served?,
        () = ended => {}
    }
    Ok(())
}
