# SPDX-License-Identifier: GPL-2.0-or-later
"""kms_decrypt.py DOCUMENT: `aws kms decrypt --recipient` without the command line around botocore.

Debian's botocore of 2022 does not know Recipient, so its model is completed first."""
import base64
import json
import os
import sys

sys.path.append("/usr/lib/python3/dist-packages")

import botocore.session  # noqa: E402


def teach_recipient(session):
    shapes = session.get_component("data_loader").load_service_model("kms", "service-2")["shapes"]
    shapes.setdefault("RecipientInfo", {"type": "structure", "members": {
        "KeyEncryptionAlgorithm": {"shape": "KeyIdType"}, "AttestationDocument": {"shape": "CiphertextType"}}})
    shapes["DecryptRequest"]["members"].setdefault("Recipient", {"shape": "RecipientInfo"})
    shapes["DecryptResponse"]["members"].setdefault("CiphertextForRecipient", {"shape": "CiphertextType"})


def main():
    session = botocore.session.get_session()
    teach_recipient(session)
    kms = session.create_client("kms", os.environ["AWS_REGION"], endpoint_url=os.environ.get("KMS_ENDPOINT"))
    with open(sys.argv[1], "rb") as f:
        document = f.read()
    answer = kms.decrypt(
        KeyId=os.environ["KEY_ARN"], CiphertextBlob=base64.b64decode(os.environ["CIPHERTEXT"]),
        EncryptionContext=json.loads(os.environ["CONTEXT"]),
        Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document})
    if answer["KeyId"] != os.environ["KEY_ARN"]:
        sys.exit(f"answered with key {answer['KeyId']}")
    sys.stdout.buffer.write(answer["CiphertextForRecipient"])


main()
