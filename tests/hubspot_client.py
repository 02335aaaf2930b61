"""Reads the simulator with HubSpot's own client library, and prints what it saw as JSON.

Usage: hubspot_client.py URL ACCESS_TOKEN CLIENT_ID CLIENT_SECRET REFRESH_TOKEN
"""

import json
import sys

from hubspot import HubSpot
from hubspot.crm.associations.v4 import BatchInputPublicFetchAssociationsBatchRequest
from hubspot.crm.contacts import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from hubspot.crm.contacts.exceptions import ApiException

url, token, client_id, client_secret, refresh_token = sys.argv[1:]
client = HubSpot(access_token=token, host=url)


def search(after=None):
    newest_first = {"propertyName": "lastmodifieddate", "direction": "DESCENDING"}
    known = {"filters": [{"propertyName": "hs_object_id", "operator": "GT", "value": "0"}]}
    request = PublicObjectSearchRequest(
        filter_groups=[known], sorts=[newest_first], properties=["email"], limit=200, after=after
    )
    return client.crm.contacts.search_api.do_search(public_object_search_request=request)


searched, after = [], None
while True:
    page = search(after)
    searched += page.results
    if page.paging is None:
        break
    after = page.paging.next.after

try:
    search("10000")
    beyond = 200
except ApiException as error:
    beyond = error.status

listed = client.crm.contacts.get_all(properties=["email"], associations=["companies"])
inputs = [{"id": contact.id} for contact in listed]
batch = client.crm.contacts.batch_api.read(
    batch_read_input_simple_public_object_id=BatchReadInputSimplePublicObjectId(
        inputs=inputs[:50] + [{"id": "999999999"}], properties=["email"], properties_with_history=[]
    )
)
associated = client.crm.associations.v4.batch_api.get_page(
    from_object_type="contacts",
    to_object_type="companies",
    batch_input_public_fetch_associations_batch_request=BatchInputPublicFetchAssociationsBatchRequest(inputs=inputs),
)
tokens = client.oauth.tokens_api.create(
    grant_type="refresh_token", client_id=client_id, client_secret=client_secret, refresh_token=refresh_token
)
print(
    json.dumps(
        {
            "total": page.total,
            "searched": len({contact.id for contact in searched}),
            "newest_first": [c.updated_at for c in searched] == sorted((c.updated_at for c in searched), reverse=True),
            "beyond": beyond,
            "listed": len({contact.id for contact in listed}),
            "listed_with_companies": sum(1 for contact in listed if contact.associations),
            "batch": len(batch.results),
            "associated": len(associated.results),
            "primary": sum(1 for result in associated.results for to in result.to for kind in to.association_types if kind.type_id == 1),
            "token_type": tokens.token_type,
            "expires_in": tokens.expires_in,
        },
        default=str,
    )
)
