"""A client of GraphQL as people write it: reads the schema by introspection, checks the query against it, and asks.

    client.py URL QUERY VARIABLES
"""

import json
import sys

from gql import Client, gql
from gql.transport.requests import RequestsHTTPTransport

url, query, variables = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with Client(transport=RequestsHTTPTransport(url=url), fetch_schema_from_transport=True) as session:
    request = gql(query)
    request.variable_values = variables
    answer = session.execute(request)
    types = sorted(name for name in session.client.schema.type_map if not name.startswith("__"))
    print(json.dumps({"answer": answer, "types": types}))
