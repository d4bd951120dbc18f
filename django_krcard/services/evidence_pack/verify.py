"""Verifies this evidence pack, offline: python3 verify.py

Needs Python 3.8 or later and nothing else. Read it before you run it; it is short. It opens the files beside it and
prints. Exit code 0: everything holds; 1: something does not, and is named.

What it cannot see is a pack in which everything was made up from the beginning, hashes and all. Against that there are
witnesses elsewhere: compare the record hashes that it prints with those in Stripe's metadata, and the seal's root with
the printed one. Given on the command line, they are compared here: python3 verify.py HASH HASH ...
"""

import hashlib
import hmac
import html
import json
import sys
from datetime import datetime
from pathlib import Path

#: What stands both in the record and beside it, under the same name.
SAME = (
    "public_id",
    "terms",
    "version",
    "language",
    "rule",
    "text_sha256",
    "created_at",
    "source",
    "source_reference",
    "recorded_by",
    "origin_sha256",
    "attachment_sha256",
    "key_id",
    "previous_hash",
)


class Report:
    def __init__(self):
        self.wrong = 0

    def check(self, holds, what):
        print("  ok   " if holds else "  WRONG", what)
        self.wrong += not holds


def main(folder, known_hashes):
    report = Report()
    print("Files")
    verify_files(folder, report)
    pack = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    report.check((pack["format"], pack["version"]) == ("krcard-evidence", 1), "format of evidence.json is known")
    page = (folder / "evidence.html").read_text(encoding="utf-8")
    report.check(bool(pack["consents"]), "there is a consent")
    for consent in pack["consents"]:
        print("Consent", consent["public_id"], "given at", consent["given_at"])
        verify_consent(consent, pack, folder, report)
        text = (folder / "texts" / (consent["public_id"] + ".txt")).read_bytes()
        report.check(sha256(text) == consent["text_sha256"], "the text in texts/ is the one that was agreed")
        report.check(html.escape(consent["text"]) in page, "the page shows the text that was agreed")
        report.check(consent["record_hash"] in page, "the page shows the hash of the record")
    print("Chain")
    verify_chain(pack, report)
    print("Mandate and charges")
    verify_references(pack, report)
    tell_witnesses(pack, known_hashes, report)
    print("Everything holds." if not report.wrong else f"{report.wrong} WRONG. Do not rely on this pack.")
    return 1 if report.wrong else 0


def verify_files(folder, report):
    listed = {}
    for line in (folder / "MANIFEST").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        listed[name] = digest
    for name, digest in listed.items():
        report.check(is_file_with(folder / name, digest), f"{name} is the listed file")
    needed = {"evidence.json", "evidence.html", "verify.py", "README.txt"}
    report.check(needed <= set(listed), "the list is complete")


def is_file_with(path, digest):
    return path.is_file() and sha256(path.read_bytes()) == digest


def verify_consent(consent, pack, folder, report):
    """The record's hash covers everything that stands in its canonical form; all else here has to agree with that."""
    report.check(sha256(consent["text"].encode()) == consent["text_sha256"], "text matches its SHA-256")
    key = bytes.fromhex(consent["record_key"] or "")
    redone = hmac.new(key, consent["canonical"].encode(), "sha256").hexdigest()
    report.check(bool(key) and redone == consent["record_hash"], "record matches its hash")
    record = json.loads(consent["canonical"])
    for name in SAME:
        report.check(record[name] == consent[name], f"{name} is that of the record")
    ticked = [item["key"] for item in consent["ticked"]]
    report.check(record["ticked"] == ticked, "boxes ticked are those of the record")
    report.check(record["customer"] == pack["customer"]["public_id"], "customer is that of the record")
    moments = [record["given_at"], consent["given_at"], consent["given_at_local"]]
    report.check(len({datetime.fromisoformat(moment) for moment in moments}) == 1, "time is that of the record")
    labels = ["] " + item["label"] for item in consent["ticked"] + consent["not_ticked"]]
    report.check(all_in(labels, consent["text"]), "labels of boxes are in the text")
    report.check(all_in(consent["points"].values(), consent["text"]), "clauses are in the text")
    report.check(consent["intact"] is True, "the site itself calls the record intact")
    verify_origin(consent, pack, report)
    if consent["attachment"]:
        verify_attachment(consent, folder, report)
    if consent["seal"]:
        verify_seal(consent, report)
    for each in consent["witnesses"]:
        told = {"krcard_consent": consent["public_id"], "krcard_consent_hash": consent["record_hash"]}
        report.check(each["metadata"] == told, f"{each['id']} was given this record's id and hash")


def verify_origin(consent, pack, report):
    origin = consent["origin"]
    if origin is None and not pack["personal"]:
        print("  --    where it came from was left out")
    elif origin is None:
        # What is personal may be erased, and then it is written down that it was.
        report.check(bool(consent["erasure"]), "where it came from was erased, and it says when")
    else:
        redone = sha256(canonical(origin).encode())
        report.check(redone == consent["origin_sha256"], "address, browser and page match their salted SHA-256")


def verify_attachment(consent, folder, report):
    attachment = dict(consent["attachment"])
    path = folder / "attachments" / attachment.pop("file")
    report.check(is_file_with(path, attachment["sha256"]), f"{path.name} is the document that was attached")
    redone = sha256(canonical(attachment).encode())
    report.check(redone == consent["attachment_sha256"], "its name and content match their salted SHA-256")


def verify_chain(pack, report):
    """Each record names the one before it, the first one names none."""
    before = ""
    for link in pack["chain"]:
        follows = f"{link['record_hash'][:12]}... follows {before[:12] or 'nothing'}"
        report.check(link["previous_hash"] == before, follows)
        before = link["record_hash"]
    links = {(link["previous_hash"], link["record_hash"]) for link in pack["chain"]}
    for consent in pack["consents"]:
        is_linked = (consent["previous_hash"], consent["record_hash"]) in links
        report.check(is_linked, f"consent {consent['public_id']} is a link of it")


def verify_references(pack, report):
    """Whatever is charged says by which consent, and that consent's rule is what the charge claims."""
    consents = {consent["public_id"]: consent for consent in pack["consents"]}
    mandate = pack["mandate"]
    report.check(mandate["consent"] in consents, "the mandate stands on a consent of this pack")
    if mandate["next_consent"]:
        report.check(mandate["next_consent"] in consents, "what rules from a later day on is a consent of this pack")
    for charge in pack["charges"]:
        consent = consents.get(charge["agreed"]["consent"])
        agreed = {name: charge["agreed"][name] for name in ("amount", "amount_kind", "frequency")}
        report.check(
            bool(consent) and agreed.items() <= consent["rule"].items(),
            f"charge {charge['reference']} names the rule of its consent",
        )
        # What was refused or called off moved no money.
        if charge["status"] not in ("refused", "cancelled"):
            report.check(
                is_within(charge, agreed), f"charge {charge['reference']} of {charge['amount']} won is within it"
            )
    for amendment in pack["amendments"]:
        verify_amendment(amendment, consents, report)


def is_within(charge, agreed):
    """An invoice of a subscription may be less than a fixed amount: for a part of a period, say."""
    may_be_less = agreed["amount_kind"] == "maximum" or charge["invoice"]
    return charge["amount"] == agreed["amount"] or (may_be_less and charge["amount"] < agreed["amount"])


def verify_amendment(amendment, consents, report):
    """Of a change that was asked for: its prices are those of the consents before and after it."""
    name = f"change {amendment['public_id'][:8]}... to {amendment['terms']} v{amendment['version']}"
    before, after = consents.get(amendment["before"]), consents.get(amendment["consent"])
    free = amendment["amount_before"] is None
    holds = bool(before) and (free or before["rule"]["amount"] == amendment["amount_before"])
    report.check(holds, f"{name} names the consent before it and its amount")
    if amendment["status"] == "agreed":
        told = {name: amendment[name] for name in ("terms", "version")}
        holds = bool(after) and told.items() <= after.items() and after["rule"]["amount"] == amendment["amount_after"]
        report.check(holds, f"{name} was agreed to separately, for the amount that was asked")


def verify_seal(consent, report):
    """From the hash of the record up the tree of hashes to the root that was printed for safekeeping elsewhere."""
    seal = consent["seal"]
    report.check(seal["record_hash"] == consent["record_hash"], "the seal is over this record")
    node = digest(b"\x00" + bytes.fromhex(consent["record_hash"]))
    for sibling in seal["siblings"]:
        other = bytes.fromhex(sibling["hash"])
        node = digest(b"\x01" + (other + node if sibling["side"] == "left" else node + other))
    named = (str(seal[name]) for name in ("number", "count", "made_at", "previous_root"))
    root = digest(b"\x02" + "|".join([*named, node.hex()]).encode("ascii")).hex()
    report.check(root == seal["root"], f"it leads to the root of seal {seal['number']}")


def tell_witnesses(pack, known_hashes, report):
    print("Compare with what others keep")
    shown = set()
    for consent in pack["consents"]:
        print("  record hash", consent["record_hash"])
        shown.add(consent["record_hash"])
        if consent["seal"]:
            print("    under seal", consent["seal"]["number"], "with the root", consent["seal"]["root"])
            shown.add(consent["seal"]["root"])
        for each in consent["witnesses"]:
            print("    at Stripe in the metadata of", each["object"], each["id"])
    for known in known_hashes:
        report.check(known in shown, f"{known}, which you gave, is in this pack")


def all_in(parts, text):
    return all(part.strip() in text for part in parts)


def canonical(data):
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def sha256(content):
    return digest(content).hex()


def digest(content):
    return hashlib.sha256(content).digest()


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
