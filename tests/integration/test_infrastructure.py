# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/infrastructure and `muctl policy kms --format`: linted, made in moto, one beside the other."""
import json
import re
import sys

import aws_programs as programs
import pytest
import world as w
from test_policy import ADMIN, BUILDER, IMAGE, ROLE, baseline

FOLDER = w.TOP / "docs/examples/infrastructure"
LINT = "import cfnlint.runner, sys; sys.exit(cfnlint.runner.main())"
TEMPLATE, MODULE = FOLDER / "cloudformation.yaml", FOLDER / "main.tf"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python with cfn-lint and python-hcl2."""
    environment = programs.moto_environment(tmp_path_factory.mktemp("home"))
    return lambda *arguments, **options: w.run(sys.executable, *arguments, env=environment, text=True, **options)


@pytest.fixture
def aws(tmp_path):
    program = tmp_path / "aws"
    with programs.moto(tmp_path) as script:
        program.write_text(script)
        program.chmod(0o755)
        yield lambda *arguments: json.loads(w.run(program, *arguments, "--output", "json", text=True).stdout or "null")


@pytest.fixture
def policy(tmp_path):
    def make(image_format, *options):
        return json.loads(w.muctl("policy", "kms", "--baseline", baseline(tmp_path, IMAGE), "--principal", ROLE, "--admin", ADMIN,
                                  "--builder", BUILDER, "--format", image_format, *options).stdout)
    return make


def test_cloudformation_lint(python, policy, tmp_path):
    """cfn-lint holds both templates against AWS's resource schemas and looks into their policies."""
    (tmp_path / "key.json").write_text(json.dumps(policy("cloudformation")))
    for template in TEMPLATE, tmp_path / "key.json":
        done = python("-c", LINT, "--include-checks", "I", "--regions", "eu-west-1", "--", template, check=False)
        assert done.returncode == 0, done.stdout
    (tmp_path / "bad.yaml").write_text(TEMPLATE.read_text().replace("RoleArn", "").replace("EventPattern", "EventPatern"))
    assert python("-c", LINT, "--", tmp_path / "bad.yaml", check=False).returncode != 0


def test_cloudformation_deployed(aws, policy, tmp_path):
    """Roles, then the key with a policy for them; what is made is what was written."""
    aws("cloudformation", "create-stack", "--stack-name", "roles", "--template-body", f"file://{TEMPLATE}", "--capabilities",
        "CAPABILITY_IAM", "--parameters", "ParameterKey=AlarmAddress,ParameterValue=oncall@example.com")
    stack, = aws("cloudformation", "describe-stacks", "--stack-name", "roles")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    given = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    rule, = aws("events", "list-rules")["Rules"]
    watched = json.loads(rule["EventPattern"])["detail"]["eventName"]
    assert {"PutKeyPolicy", "CreateGrant", "ScheduleKeyDeletion"} <= set(watched)
    target, = aws("events", "list-targets-by-rule", "--rule", rule["Name"])["Targets"]
    assert target["Arn"] in [topic["TopicArn"] for topic in aws("sns", "list-topics")["Topics"]]

    template = tmp_path / "key.json"
    w.muctl("policy", "kms", "--baseline", baseline(tmp_path, IMAGE), "--principal", given["Principal"], "--admin", given["Admin"],
            "--builder", given["Builder"], "--format", "cloudformation", "-o", template)
    aws("cloudformation", "create-stack", "--stack-name", "key", "--template-body", f"file://{template}")
    stack, = aws("cloudformation", "describe-stacks", "--stack-name", "key")["Stacks"]
    arn, = (o["OutputValue"] for o in stack["Outputs"] if o["OutputKey"] == "KeyArn")
    put = aws("kms", "get-key-policy", "--key-id", arn, "--policy-name", "default")["Policy"]  # moto has an object there
    assert put == json.loads(template.read_text())["Resources"]["MeasuredUnlockKey"]["Properties"]["KeyPolicy"]
    (tmp_path / "put.json").write_text(json.dumps(put))
    assert w.muctl("policy", "lint", tmp_path / "put.json").returncode == 0


def test_formats_hold_the_policy(policy):
    plain, stack, module = policy("json"), policy("cloudformation"), policy("terraform")
    assert stack["Resources"]["MeasuredUnlockKey"]["Properties"]["KeyPolicy"] == plain
    assert stack["Resources"]["MeasuredUnlockKey"]["DeletionPolicy"] == "Retain"
    key = module["resource"]["aws_kms_key"]["measured_unlock"]
    assert json.loads(key["policy"]) == plain and key["lifecycle"] == {"prevent_destroy": True}
    assert module["output"]["key_arn"]["value"] == "${aws_kms_key.measured_unlock.arn}"
    refused = w.muctl("policy", "kms", "--admin", ADMIN, "--builder", BUILDER, "--format", "yaml", check=False)
    assert refused.returncode == 1 and "json, cloudformation or terraform" in refused.stderr


def test_terraform_module_says_the_same(python, tmp_path):
    """Terraform itself is not at hand: its syntax is read by python-hcl2, and its parts are those of the template."""
    source = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))"
    module = json.loads(python("-c", source, MODULE).stdout)
    kinds = sorted(kind.strip('"') for resource in module["resource"] for kind in resource)
    template = re.findall(r"^    Type: (AWS::\w+::\w+)$", TEMPLATE.read_text(), re.M)
    same = {"AWS::IAM::Role": "aws_iam_role", "AWS::IAM::InstanceProfile": "aws_iam_instance_profile", "AWS::SNS::Topic": "aws_sns_topic",
            "AWS::SNS::TopicPolicy": "aws_sns_topic_policy", "AWS::Events::Rule": "aws_cloudwatch_event_rule"}
    inside = ["aws_iam_role_policy", "aws_sns_topic_subscription", "aws_cloudwatch_event_target"]
    assert kinds == sorted([same[kind] for kind in template] + inside)
    events = r"eventName(?::|\s*=) \[([^]]*)\]"
    names = [set(re.findall(r"\w+", re.search(events, file.read_text())[1])) for file in (TEMPLATE, MODULE)]
    assert names[0] == names[1]
    (tmp_path / "bad.tf").write_text(MODULE.read_text().replace("{", "", 1))
    assert python("-c", source, tmp_path / "bad.tf", check=False).returncode != 0
