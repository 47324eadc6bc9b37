"""A small OneRoster package, of either version, as a folder or a zip archive.

Hill School has two classes: algebra of Ann and Ben, taught by Tom, and art of Ann. Algebra's quiz was graded for Ann;
Ben handed it in. Nobody here is anybody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from app.importers.oneroster.options import NewSchools, Options

EXPORTED = datetime(2024, 10, 1, 2, tzinfo=UTC)
READ = ("orgs", "academicSessions", "classes", "users", "roles", "enrollments", "categories", "lineItems", "results")

Files = dict[str, str]

COMMON: Files = {
    "orgs": "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\n"
    "district,,,The District,district,,\n"
    "hill,,,Hill School,school,,district\n",
    "academicSessions": "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear\n"
    "autumn,,,Autumn,semester,2024-09-02,2024-12-21,,2025\n"
    "spring,,,Spring,semester,2025-01-06,2025-06-28,,2025\n",
    "courses": "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId\n"
    "maths,,,,Mathematics,,,district\n",
    "classes": "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,"
    "schoolSourcedId,termSourcedIds,subjects\n"
    'algebra,,,Algebra,7,maths,,Scheduled,,hill,"autumn, spring",\n'
    "art,,,Art,7,maths,,scheduled,,hill,autumn,\n",
    "enrollments": "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,"
    "beginDate,endDate\n"
    "e1,,,algebra,hill,ann,student,,,\n"
    "e2,,,algebra,hill,ben,Student,,2024-09-09,2025-06-01\n"
    "e3,,,algebra,hill,tom,teacher,true,,\n"
    "e4,,,art,hill,ann,student,,,\n"
    "e5,,,art,hill,tom,aide,,,\n",
    "results": "sourcedId,status,dateLastModified,lineItemSourcedId,studentSourcedId,scoreStatus,score,scoreDate,"
    "comment\n"
    "r1,,,quiz,ann,fully graded,7.5,2024-09-20,Well done\n"
    "r2,,,quiz,ben,submitted,,2024-09-19,\n"
    "r3,,,essay,ben,exempt,,2024-09-25,\n",
}
FIRST: Files = COMMON | {
    "users": "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName\n"
    'ann,,,true,"district,hill",student,ann,,Given-Name-1,Family-Name-1\n'
    "ben,,,true,hill,student,ben,,Given-Name-2,Family-Name-2\n"
    "tom,,,true,hill,teacher,tom,,Given-Name-3,Family-Name-3\n"
    "mum,,,true,hill,parent,mum,,Given-Name-4,Family-Name-4\n",
    "categories": "sourcedId,status,dateLastModified,title\ntests,,,Tests\nwork,,,Work\n",
    "lineItems": "sourcedId,status,dateLastModified,title,description,assignDate,dueDate,classSourcedId,"
    "categorySourcedId,gradingPeriodSourcedId,resultValueMin,resultValueMax\n"
    "quiz,,,Quiz,,2024-09-10,2024-09-20,algebra,tests,autumn,0,10\n"
    "essay,,,Essay,,2024-09-16,2024-10-26,algebra,work,autumn,0,20\n"
    "vase,,,Vase,,2024-09-16,2024-09-27,art,work,autumn,0,\n",
}
SECOND: Files = COMMON | {
    "users": "sourcedId,status,dateLastModified,enabledUser,username,givenName,familyName,primaryOrgSourcedId\n"
    "ann,,,true,ann,Given-Name-1,Family-Name-1,\n"
    "ben,,,true,ben,Given-Name-2,Family-Name-2,hill\n"
    "tom,,,true,tom,Given-Name-3,Family-Name-3,\n"
    "mum,,,true,mum,Given-Name-4,Family-Name-4,\n",
    "roles": "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId\n"
    "ro1,,,ann,primary,student,,,hill\n"
    "ro2,,,ben,primary,student,,,hill\n"
    "ro3,,,tom,secondary,administrator,,,district\n"
    "ro4,,,tom,primary,teacher,,,hill\n"
    "ro5,,,mum,primary,guardian,,,hill\n",
    "categories": "sourcedId,status,dateLastModified,title,weight\ntests,,,Tests,40\nwork,,,Work,0\n",
    "lineItems": "sourcedId,status,dateLastModified,title,assignDate,dueDate,classSourcedId,schoolSourcedId,"
    "categorySourcedId,academicSessionSourcedId,resultValueMax\n"
    "quiz,,,Quiz,2024-09-10,2024-09-20,algebra,hill,tests,autumn,10\n"
    "essay,,,Essay,2024-09-16,2024-10-26,algebra,hill,work,autumn,20\n"
    "vase,,,Vase,2024-09-16,2024-09-27,art,hill,work,autumn,\n",
}
PACKAGES = {"1.1": FIRST, "1.2": SECOND}
AZORES = Options(NewSchools(time_zone="Atlantic/Azores"))


def manifest(version: str, modes: Mapping[str, str]) -> str:
    lines = [f"file.{name},{modes.get(name, 'absent')}" for name in (*READ, "courses", "demographics", "resources")]
    return "\n".join(["propertyName,value", "manifest.version,1.0", f"oneroster.version,{version}", *lines, ""])


def package(folder: Path, files: Mapping[str, str], version: str = "1.1", **modes: str) -> Path:
    """A folder; files are bulk, unless told otherwise."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.csv"):
        old.unlink()
    told = {"manifest": manifest(version, dict.fromkeys(files, "bulk") | modes)} | dict(files)
    for name, content in told.items():
        path = folder / f"{name}.csv"
        path.write_bytes(content.encode())
        os.utime(path, (EXPORTED.timestamp(), EXPORTED.timestamp()))
    return folder


def zipped(folder: Path, prefix: str = "", at: datetime = EXPORTED) -> Path:
    archive = folder.with_suffix(".zip")
    with ZipFile(archive, "w", ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            info = ZipInfo(prefix + path.name, at.timetuple()[:6])
            info.compress_type = ZIP_DEFLATED
            file.writestr(info, path.read_bytes())
    return archive


def delta(**rows: str) -> Files:
    """Files of changes with the usual headers: each row is `sourcedId,status,dateLastModified,...`."""
    return {name: FIRST[name].splitlines()[0] + "\n" + content for name, content in rows.items()}


def edited(files: Mapping[str, str], name: str, old: str, new: str) -> Files:
    assert old in files[name]
    return {**files, name: files[name].replace(old, new)}


def large(classes: int, students: int = 30, items: int = 10) -> Files:
    """Of 1.1, with a result for each student and line item; every class has students of its own."""
    ids = [f"class-{number:05}" for number in range(classes)]
    pairs = [(class_id, f"{class_id}-{number:03}") for class_id in ids for number in range(students)]
    tasks = [(class_id, f"{class_id}-task-{number:03}") for class_id in ids for number in range(items)]
    work = [(f"{class_id}-task-{number:03}", person) for class_id, person in pairs for number in range(items)]
    rows = {
        "classes": [f"{class_id},,,Title,7,maths,,scheduled,,hill,autumn," for class_id in ids],
        "users": [f"{person},,,true,hill,student,u,,Given,Family" for _, person in pairs],
        "enrollments": [f"e-{person},,,{class_id},hill,{person},student,,,2024-12-01" for class_id, person in pairs],
        "lineItems": [
            f"{task},,,Task,,2024-09-10,2024-09-{10 + place % 15},{class_id},tests,autumn,0,20"
            for place, (class_id, task) in enumerate(tasks)
        ],
        "results": [
            f"r-{task}-{person},,,{task},{person},fully graded,{place % 20},2024-09-26,"
            for place, (task, person) in enumerate(work)
        ],
    }
    told = {name: "\n".join([FIRST[name].splitlines()[0], *lines, ""]) for name, lines in rows.items()}
    return {name: FIRST[name] for name in ("orgs", "academicSessions", "categories")} | told
