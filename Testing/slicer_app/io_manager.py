"""Reading and writing files as Slicer's ``coreIOManager`` does, with the real logics and storage nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# File type of Slicer's readers, by the endings that this project reads and writes.
FILE_TYPES = {
    "VolumeFile": (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd"),
    "TransformFile": (".h5", ".tfm", ".txt"),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "MarkupsFile": (".mrk.json", ".fcsv"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".obj", ".ply"),
    "TableFile": (".csv", ".tsv"),
    "ColorTableFile": (".ctbl",),
    "TextFile": (".json",),
    "SceneFile": (".mrml", ".mrb"),
}


class IOManager:
    """``qSlicerCoreIOManager`` for the file types above."""

    def __init__(self, core: Any) -> None:
        self.core = core

    def fileType(self, file_name: str) -> str:
        endings = sorted(
            ((ending, kind) for kind, kinds in FILE_TYPES.items() for ending in kinds), key=lambda pair: -len(pair[0])
        )
        name = str(file_name).lower()
        return next((kind for ending, kind in endings if name.endswith(ending)), "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        return "NoFile" if node is None else node.GetClassName()

    def loadNodes(self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        reader = {
            "VolumeFile": self._volume,
            "TransformFile": self._transform,
            "SegmentationFile": lambda p, _: self.core.logics["Segmentations"].LoadSegmentationFromFile(p, True),
            "MarkupsFile": self._markups,
            "ModelFile": lambda p, _: self.core.logics["Models"].AddModel(p),
            "TableFile": lambda p, _: self.core.logics["Tables"].AddTable(p),
            "ColorTableFile": lambda p, _: self.core.logics["Colors"].LoadColorFile(p),
            "SceneFile": self._scene,
        }.get(file_type)
        if reader is None:
            raise NotImplementedError(f"The stand-in application does not read {file_type}.")
        path = str(properties["fileName"])
        node = reader(path, properties) if Path(path).is_file() else None
        if isinstance(node, bool):
            return node
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        if node is not None and properties.get("name"):
            node.SetName(properties["name"])
        return node is not None

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path)
        node = self.core.scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode(path)
            storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def exportNodes(
        self, node_ids: list[str], file_names: list[str], properties: Any, harden: bool = False, messages: Any = None
    ) -> bool:
        """Write nodes with storage nodes of their own, which the scene does not see."""
        if harden:
            raise NotImplementedError("The stand-in application does not harden at export.")
        done = True
        for node_id, file_name in zip(node_ids, file_names, strict=True):
            node = self.core.scene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(self.core.scene)
            storage.SetFileName(str(file_name))
            done = bool(storage.WriteData(node)) and done
        return done

    def extractKnownExtension(self, file_name: str, node: Any) -> str:
        endings = sorted((e for kinds in FILE_TYPES.values() for e in kinds), key=len, reverse=True)
        return next((e for e in endings if str(file_name).lower().endswith(e)), Path(file_name).suffix)

    def fileWriterExtensions(self, node: Any) -> list[str]:
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        types = storage.GetSupportedWriteFileTypes()
        return [types.GetValue(index) for index in range(types.GetNumberOfValues())]

    def _volume(self, path: str, properties: dict[str, Any]) -> Any:
        label = 1 if properties.get("labelmap") else 0
        name = properties.get("name") or Path(path).name.split(".")[0]
        return self.core.logics["Volumes"].AddArchetypeVolume(path, name, label)

    def _transform(self, path: str, properties: dict[str, Any]) -> Any:
        return self.core.logics["Transforms"].AddTransform(path, self.core.scene)

    def _markups(self, path: str, properties: dict[str, Any]) -> Any:
        node_id = self.core.logics["Markups"].LoadMarkups(path, Path(path).name.split(".")[0])
        return self.core.scene.GetNodeByID(node_id) if node_id else None

    def _scene(self, path: str, properties: dict[str, Any]) -> bool:
        # The defaults of qSlicerSceneBundleReader.cxx and qSlicerSceneReader.cxx: what is there stays.
        scene, clear = self.core.scene, bool(properties.get("clear", False))
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def _save_scene(self, path: str) -> bool:
        if path.endswith(".mrb"):
            return bool(self.core.scene.WriteToMRB(path))
        if path.endswith(".mrml"):
            return bool(self.core.scene.Commit(path))
        return bool(self.core.application_logic.SaveSceneToSlicerDataBundleDirectory(path))
